"""LangChain in two processes."""

from benchmarks.contenders.langchain import script

send_document = script(2).send
