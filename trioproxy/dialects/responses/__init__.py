"""OpenAI / Open Responses."""
