"""What the API answers about who asks: tickets, users, accounts, rules."""

from typing import Annotated

from pydantic import Field

from runai_core.web.answers.base import Answer


class TicketAnswer(Answer):
    """A link that signs a browser in, once and within minutes."""

    ticket: str
    path: Annotated[str, Field(description="To be opened at the address of the orchestrator.")]
