"""Templates, chats and the requests of LLM nodes."""
