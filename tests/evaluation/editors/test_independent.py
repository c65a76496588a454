import torch

from clmeeval_data.evaluation.editors.independent import IndependentAdam


def loss_of(rows, targets):
    return (rows - targets).square().sum(-1).sqrt()


def test_rows_that_stop_at_different_times_equal_rows_optimised_alone():
    torch.manual_seed(0)
    start, targets, stops = torch.randn(4, 3), torch.randn(4, 3), [2, 7, 5, 7]
    together = IndependentAdam(start, 0.1)
    for step in range(7):
        active = together.active
        loss_of(together.current, targets[active]).sum().backward()
        together.step([place for place, row in enumerate(active) if stops[row] > step])
    for row, stop in enumerate(stops):
        alone = start[row : row + 1].clone().requires_grad_()
        adam = torch.optim.Adam([alone], lr=0.1)
        for _ in range(stop):
            adam.zero_grad()
            loss_of(alone, targets[row : row + 1]).sum().backward()
            adam.step()
        torch.testing.assert_close(together.finished()[row], alone[0].detach(), atol=1e-6, rtol=1e-6)
    assert together.active == [1, 3]


def test_replaced_values_are_what_the_next_step_starts_from():
    adam = IndependentAdam(torch.ones(2, 2), 0.1)
    adam.replace(torch.zeros(2, 2))
    loss_of(adam.current, torch.ones(2, 2)).sum().backward()
    adam.step([0, 1])
    torch.testing.assert_close(adam.finished(), torch.full((2, 2), 0.1), atol=1e-6, rtol=0)


def test_leaves_of_their_own_collect_the_gradient_of_the_rows():
    """Through a row that stops and leaves, step by step like the rows as one leaf."""
    start = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    whole, apart = IndependentAdam(start, 0.1), IndependentAdam(start, 0.1)
    for going in ([0, 1, 2], [0, 2], [1], [0]):
        whole.current.pow(4).sum().backward()
        sum(leaf.pow(4).sum() for leaf in apart.leaves()).backward()
        torch.testing.assert_close(apart.current.grad, whole.current.grad)
        whole.step(going)
        apart.step(going)
    torch.testing.assert_close(apart.finished(), whole.finished())
    assert (whole.finished() != start).all()
