"""The study of few-step sampling: ``python -m bench.few_steps``."""
