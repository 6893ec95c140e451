"""LangChain in one process."""

from benchmarks.contenders.langchain import script

send_document = script(1).send
