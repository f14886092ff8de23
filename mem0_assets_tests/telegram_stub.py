"""A Telegram Bot API on loopback that checks what it is sent as the real one does, and misbehaves on command.

    with TelegramStub() as telegram:
        telegram.then(too_many_requests(3), hang())   # the next two requests; after them it behaves
        Telegram(telegram.token, telegram.chat_id, telegram.url).send(...)
        telegram.messages[0].text

Its texts of refusal are those of the real API. `messages` holds what reached the chat, `bodies` every sendMessage that
came in, refused ones included. `always` sets a fault for all requests that the script of `then` does not cover.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
CHAT_ID = "-4200133702"
ENTITY_TYPES = {"bold", "italic", "underline", "strikethrough", "spoiler", "blockquote", "code", "pre"}

Fault = Callable[["Exchange"], None]


@dataclass(frozen=True)
class Received:
    """A message that reached a chat."""

    message_id: int
    chat_id: str
    text: str
    entities: list[dict[str, Any]] = field(default_factory=list)


class RefusalError(Exception):
    """What the Bot API answers instead of a result."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.parameters = parameters


def refuse(status: int, description: str, **parameters: int) -> Fault:
    """Answer with an error of the Bot API."""
    return lambda exchange: exchange.refuse(RefusalError(status, description, **parameters))


def too_many_requests(retry_after: int) -> Fault:
    return refuse(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)


def unauthorized() -> Fault:
    return refuse(401, "Unauthorized")


def forbidden() -> Fault:
    return refuse(403, "Forbidden: bot was kicked from the group chat")


def chat_not_found() -> Fault:
    return refuse(400, "Bad Request: chat not found")


def bad_entities() -> Fault:
    return refuse(400, "Bad Request: can't parse MessageEntity: Unsupported type specified")


def migrated(new_chat_id: str) -> Fault:
    """The group has become a supergroup: the new id is known from now on."""

    def fault(exchange: "Exchange") -> None:
        exchange.stub.migrate(new_chat_id)
        exchange.behave()

    return fault


def page(status: int) -> Fault:
    """A proxy's HTML page, which repeats the URL as many do."""
    return lambda exchange: exchange.reply(
        status, f"<html><h1>{status}</h1><p>Cannot POST {exchange.path}</p></html>".encode(), "text/html"
    )


def redirect(url: str) -> Fault:
    """What a captive portal answers. Who follows it carries the token in the path to a stranger."""
    return lambda exchange: exchange.reply(307, b"", "text/html", location=url + exchange.path)


def hang() -> Fault:
    """Accept the request and say nothing, until the stub ends."""
    return lambda exchange: exchange.hang()


def close_connection() -> Fault:
    """Accept the request and hang up."""
    return lambda exchange: exchange.hang_up()


def truncated_json() -> Fault:
    """A whole HTTP answer around half a JSON object."""
    return lambda exchange: exchange.reply(200, b'{"ok":true,"result":{"message', "application/json")


def cut_answer() -> Fault:
    """An HTTP answer that ends before its Content-Length."""
    return lambda exchange: exchange.reply(200, b'{"ok":true', "application/json", announced=200)


def lose_answer() -> Fault:
    """Take the message to the chat, and hang up before saying so."""

    def fault(exchange: "Exchange") -> None:
        exchange.result()
        exchange.hang_up()

    return fault


def take_then_hang() -> Fault:
    """Take the message to the chat, and never say so."""

    def fault(exchange: "Exchange") -> None:
        exchange.result()
        exchange.hang()

    return fault


class TelegramStub:
    """One bot, and the chats it is in. Listens on a free port of loopback while in its `with` block."""

    def __init__(self, token: str = TOKEN, chat_id: str = CHAT_ID) -> None:
        self.token = token
        self.chat_id = chat_id
        self.messages: list[Received] = []
        self.bodies: list[dict[str, Any]] = []
        self.always: Fault | None = None
        self.ended = threading.Event()
        self._chats = {chat_id}
        self._moved: dict[str, str] = {}
        self._script: deque[Fault] = deque()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundExchange", (Exchange,), {"stub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    def then(self, *faults: Fault) -> None:
        """Misbehave like this for the next requests, in this order."""
        self._script.extend(faults)

    def migrate(self, new_chat_id: str) -> None:
        """Turn the group into a supergroup with another id, as Telegram does; the old id is refused from now on."""
        self._moved[self.chat_id] = new_chat_id
        self._chats.add(new_chat_id)

    def wait_for_requests(self, count: int, seconds: float = 60.0) -> None:
        """Wait until `count` sendMessage requests came in, and are answered or about to be."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.bodies) >= count, seconds), "the requests never came"

    def next_fault(self) -> Fault | None:
        with self._changed:
            return self._script.popleft() if self._script else self.always

    def arrived(self, body: dict[str, Any]) -> None:
        with self._changed:
            self.bodies.append(body)
            self._changed.notify_all()

    def take(self, body: dict[str, Any]) -> dict[str, Any]:
        """Bring a message to its chat, or raise the refusal that the real API would answer with."""
        chat_id = str(body.get("chat_id", ""))
        if not chat_id:
            raise RefusalError(400, "Bad Request: chat_id is empty")
        if chat_id in self._moved:
            raise RefusalError(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=int(self._moved[chat_id]),
            )
        if chat_id not in self._chats:
            raise RefusalError(400, "Bad Request: chat not found")
        text, entities = body.get("text", ""), body.get("entities", [])
        check_text(text)
        check_entities(text, entities)
        with self._changed:
            received = Received(len(self.messages) + 1, chat_id, text, entities)
            self.messages.append(received)
        return {"message_id": received.message_id, "date": 1768039200, "chat": {"id": int(chat_id)}, "text": text}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    stub: TelegramStub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.noted = False
        fault = self.stub.next_fault()
        if fault is None:
            self.behave()
        else:
            fault(self)

    def note(self) -> None:
        """Let the test know of this request, once, and before the answer: who has the answer finds it in `bodies`."""
        if self.path.endswith("/sendMessage") and not self.noted:
            self.noted = True
            self.stub.arrived(self.body)

    def behave(self) -> None:
        """Answer as the real one does."""
        try:
            result = self.result()
        except RefusalError as refusal:
            self.refuse(refusal)
        else:
            self.reply_json(200, {"ok": True, "result": result})

    def result(self) -> dict[str, Any]:
        """Do what the method says. Raises RefusalError."""
        bot, _, method = self.path.removeprefix("/").partition("/")
        if ":" not in bot:
            raise RefusalError(404, "Not Found")
        if bot != f"bot{self.stub.token}":
            raise RefusalError(401, "Unauthorized")
        if method == "getMe":
            return {"id": 110201543, "is_bot": True, "first_name": "mem0", "username": "mem0_alerts_bot"}
        if method == "sendMessage":
            return self.stub.take(self.body)
        raise RefusalError(404, "Not Found")

    def refuse(self, refusal: RefusalError) -> None:
        answer: dict[str, Any] = {"ok": False, "error_code": refusal.status, "description": str(refusal)}
        if refusal.parameters:
            answer["parameters"] = refusal.parameters
        self.reply_json(refusal.status, answer)

    def reply_json(self, status: int, answer: dict[str, Any]) -> None:
        self.reply(status, json.dumps(answer).encode(), "application/json")

    def reply(
        self, status: int, content: bytes, content_type: str, *, announced: int | None = None, location: str = ""
    ) -> None:
        self.note()
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(announced or len(content)))
        self.end_headers()
        self.wfile.write(content)
        if announced:
            self.hang_up()

    def hang(self) -> None:
        self.note()
        self.stub.ended.wait()
        self.close_connection = True

    def hang_up(self) -> None:
        self.note()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def utf16(text: str) -> bytes:
    """The text in the units that Telegram counts in. A half of a surrogate pair is refused as Telegram does."""
    try:
        return text.encode("utf-16-le")
    except UnicodeEncodeError:
        raise RefusalError(400, "Bad Request: strings must be encoded in UTF-8") from None


def check_text(text: str) -> None:
    if not text.strip():
        raise RefusalError(400, "Bad Request: message text is empty")
    if len(utf16(text)) // 2 > 4096:
        raise RefusalError(400, "Bad Request: message is too long")


def check_entities(text: str, entities: list[dict[str, Any]]) -> None:
    encoded = utf16(text)
    for entity in entities:
        first, last = entity["offset"], entity["offset"] + entity["length"]
        if entity["type"] not in ENTITY_TYPES:
            raise RefusalError(400, "Bad Request: can't parse MessageEntity: Unsupported type specified")
        if first < 0 or first >= len(encoded) // 2:
            raise RefusalError(400, f"Bad Request: entity begins after the end of the text at UTF-16 offset {first}")
        if last > len(encoded) // 2 or entity["length"] <= 0:
            raise RefusalError(
                400,
                f"Bad Request: entity beginning at UTF-16 offset {first} ends after the end of the text "
                f"at UTF-16 offset {last}",
            )
        for unit in (first, last):
            if 2 * unit < len(encoded) and 0xDC <= encoded[2 * unit + 1] <= 0xDF:
                raise RefusalError(
                    400, f"Bad Request: entity beginning at UTF-16 offset {first} ends in a middle of a UTF-16 symbol"
                )
