"""An approval service on loopback: it keeps what it was asked, and answers as it is told to."""

from typing import Any

from mem0_assets_tests.service_stub import ServiceStub

YES = {"approved": True, "by": "ann", "reason": "seen on the phone"}


class ApprovalStub(ServiceStub):
    """`answer` is what every POST of the right token gets; `bodies` holds what came."""

    def __init__(self, answer: Any = None, token: str | None = "gate-hunter2") -> None:
        super().__init__()
        self.content = YES if answer is None else answer
        self.token = token
        self.bodies: list[Any] = []

    def behave(self, path: str, query: dict[str, list[str]], secret: str | None, body: Any) -> tuple[int, Any]:
        if self.token is not None and secret != f"Bearer {self.token}":
            return 401, {"approved": True, "by": "nobody", "reason": "a wrong token"}
        self.bodies.append(body)
        return 200, self.content
