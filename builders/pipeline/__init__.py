"""The steps of a build, run shard by shard, and what makes a stopped build go on: see ``build``."""

from clmeeval_data.builders.pipeline.building import BuildReport, Track, build, check_out

__all__ = ["BuildReport", "Track", "build", "check_out"]
