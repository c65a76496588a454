"""A chat client for any OpenAI-compatible server, whose replies are paid for once."""

from clmeeval_data.llm.client import ChatClient
from clmeeval_data.llm.contract import ChatModel, ChatReply, ChatRequest, Usage
from clmeeval_data.llm.options import LlmOptions

__all__ = ["ChatClient", "ChatModel", "ChatReply", "ChatRequest", "LlmOptions", "Usage"]
