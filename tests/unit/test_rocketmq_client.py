"""The client of RocketMQ, over real sockets: a server of recorded replies, and servers that are something else."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from servers.programs import wait_until

from opsdoc.clients import Live, remoting
from opsdoc.clients.remoting import Server
from opsdoc.clients.rocketmq import Call, Messages
from opsdoc.host import LiveHost
from opsdoc.model import Denied, Interrupted, Malformed, ProbeError, TimedOut, Unreachable, Unsupported, UsageError
from opsdoc.parsers.remoting import RESPONSE, Command, decode, encode
from opsdoc.parsers.rocketmq_acl import Credentials
from opsdoc.recording import RecordingHost, ReplayHost
from opsdoc.redact import MASK, Redactor

SAMPLES = Path(__file__).parent / "samples/rocketmq"
REPLIES = json.loads((SAMPLES / "replies-4.9.3.json").read_text())
CERTIFICATE, KEY = SAMPLES / "tls-certificate.pem", SAMPLES / "tls-key.pem"
SECRET = "hunter2hunter2"
STUCK = (("clientId", "127.0.0.1@13529#2344775600420"), ("consumerGroup", "g_stuck"), ("jstackEnable", "true"))


# ── a broker ─────────────────────────────────────────────────────────────────────────────────────


class Broker:
    """A server on loopback: each connection is given to a function, in a thread of its own."""

    def __init__(self, serve):
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self.connections = 0
        self.requests = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        with contextlib.suppress(OSError, EOFError), connection:
            self._serve(connection, self)

    def close(self):
        for opened in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def broker():
    with contextlib.ExitStack() as stack:

        def start(serve):
            made = Broker(serve)
            stack.callback(made.close)
            return made

        yield start


def exactly(connection, count):
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def request(connection, broker):
    """The next request of a connection. As Netty does, it hangs up on a frame that is too long."""
    (size,) = struct.unpack(">I", exactly(connection, 4))
    if size > 16 << 20:
        raise EOFError
    command = decode(exactly(connection, size))
    broker.requests.append(command)
    return command


def recorded(command):
    """The reply that a 4.9.3 gave to the same request."""
    for item in REPLIES:
        if item["code"] == command.code and item["ext"] == dict(command.fields):
            header = item["header"]
            body = base64.b64decode(item["body_b64"])
            return Command(header["code"], command.opaque, {}, body, header["flag"], 399, header.get("remark"))
    return Command(1, command.opaque, flag=RESPONSE, remark=f"no recorded reply to {command}")


def replays(connection, broker):
    while True:
        connection.sendall(encode(recorded(request(connection, broker))))


def answers(**reply):
    """What serves the same reply to every request."""

    def serve(connection, broker):
        while True:
            asked = request(connection, broker)
            connection.sendall(encode(Command(**{"code": 0, "flag": RESPONSE, "opaque": asked.opaque, **reply})))

    return serve


def says(data):
    """What says the same bytes to the first request and hangs up."""

    def serve(connection, broker):
        connection.recv(1)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    return serve


def live_for(seconds=10.0):
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor())


@pytest.fixture
def live():
    made = live_for()
    yield made
    made.stop()


def failure(kind, question, live):
    with pytest.raises(ProbeError) as caught:
        question.answer(live)
    assert type(caught.value) is kind
    return caught.value


# ── calls ────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_cluster_answers_is_plain_data(broker, live):
    server = Server(broker(replays).address)
    cluster = Call(server, 106).answer(live)
    assert cluster == {
        "code": 0,
        "remark": None,
        "fields": {},
        "body": {
            "brokerAddrTable": {
                "broker-a": {"brokerAddrs": {"0": "127.0.0.1:20911"}, "brokerName": "broker-a", "cluster": "C1"}
            },
            "clusterAddrTable": {"C1": ["broker-a"]},
        },
    }
    everything = Call(server, 317, (("isOrder", "false"),)).answer(live)["body"]
    assert everything["totalDiff"] == 158
    queues = everything["consumeStatsList"][4]["g_ok"][0]["offsetTable"]
    assert queues['{"brokerName":"broker-a","queueId":1,"topic":"T1"}']["consumerOffset"] == 25


def test_codes_that_tell_of_a_failure_are_answers(broker, live):
    server = Server(broker(replays).address)
    unknown_topic = Call(server, 105, (("topic", "nope"),)).answer(live)
    assert (unknown_topic["code"], unknown_topic["body"]) == (17, None)
    assert unknown_topic["remark"].startswith("No topic route info in name server for the topic: nope")
    assert Call(server, 203, (("consumerGroup", "g_ok"),)).answer(live)["code"] == 206
    assert Call(server, 999999).answer(live)["code"] == 3


def test_all_questions_share_one_connection(broker, live):
    cluster = broker(replays)
    for code in (106, 206, 28, 21, 45, 201):
        Call(Server(cluster.address), code).answer(live)
    assert cluster.connections == 1
    assert [asked.opaque for asked in cluster.requests] == [1, 2, 3, 4, 5, 6]
    assert {asked.fields.get("Signature") for asked in cluster.requests} == {None}


def test_questions_side_by_side_share_a_few(broker, live):
    together = threading.Barrier(remoting.CONNECTIONS)

    def serve(connection, broker):
        while True:
            asked = request(connection, broker)
            together.wait(5)  # nobody is answered before as many have asked
            connection.sendall(encode(Command(0, asked.opaque, flag=RESPONSE)))

    cluster = broker(serve)
    questions = [Call(Server(cluster.address), 28, (("n", str(n)),)) for n in range(3 * remoting.CONNECTIONS)]
    answered = LiveHost(live, "").gather(questions)
    assert [answer.value["code"] for answer in answered] == [0] * len(questions)
    assert cluster.connections == remoting.CONNECTIONS


def test_what_others_say_on_the_connection_is_passed_over(broker, live):
    def serve(connection, broker):
        asked = request(connection, broker)
        connection.sendall(encode(Command(40, asked.opaque)))  # a request of the broker's own
        connection.sendall(encode(Command(0, asked.opaque + 7, flag=RESPONSE, remark="late")))
        connection.sendall(encode(Command(0, asked.opaque, flag=RESPONSE, remark="this one")))

    assert Call(Server(broker(serve).address), 28).answer(live)["remark"] == "this one"


def test_a_binary_header_says_the_same(broker, live):
    def serve(connection, broker):
        asked = request(connection, broker)
        reply = Command(22, asked.opaque, {"offset": "7"}, flag=RESPONSE, remark="Not found")
        connection.sendall(encode(reply, binary=True))

    answer = Call(Server(broker(serve).address), 14).answer(live)
    assert answer == {"code": 22, "remark": "Not found", "fields": {"offset": "7"}, "body": None}


def test_a_connection_that_was_closed_meanwhile_is_made_again(broker, live):
    def serve(connection, broker):
        connection.sendall(encode(recorded(request(connection, broker))))

    cluster = broker(serve)
    call = Call(Server(cluster.address), 106)
    first = call.answer(live)
    wait_until(lambda: cluster.connections == 1, "the first connection")
    assert call.answer(live) == first
    assert cluster.connections == 2


def test_a_configuration_is_lines(broker, live):
    body = f"brokerRole=ASYNC_MASTER\nfileReservedTime=72\naccessToken={SECRET}\n\nx=a=b\n".encode()
    answer = Call(Server(broker(answers(body=body)).address), 26).answer(live)
    assert answer["body"] == {"brokerRole": "ASYNC_MASTER", "fileReservedTime": "72", "accessToken": MASK, "x": "a=b"}


# ── messages ─────────────────────────────────────────────────────────────────────────────────────


def test_messages_by_their_place_in_the_log(broker, live):
    def serve(connection, broker):
        while True:
            asked = request(connection, broker)
            plain = asked._replace(fields={"offset": asked.fields["offset"]})
            connection.sendall(encode(recorded(plain)))

    cluster = broker(serve)
    question = Messages(Server(cluster.address), "%DLQ%g_dlq", (32484, 1, 33984))
    first, none, last = question.answer(live)
    assert question.key() == f"rocketmq 33 {cluster.address} topic=%DLQ%g_dlq offset=32484,1,33984"
    assert cluster.requests[0].fields == {"offset": "32484", "topic": "%DLQ%g_dlq"}
    assert (first["offset"], first["code"], first["message"]["body"]) == (32484, 0, "hello-3")
    assert first["message"]["properties"]["RETRY_TOPIC"] == "TDLQ"
    assert first["message"]["properties"]["UNIQ_KEY"] == "7F0000012AF330946E0970D300210003"
    assert (none["code"], none["message"]) == (1, None)
    assert last["message"]["body"] == "hello-1"
    assert json.loads(json.dumps(first)) == first


def message(body, properties, topic=b"T"):
    """A stored message: all is zero in it but these."""
    rest = bytes(8 + 8 + 8 + 4 + 8) + struct.pack(">i", len(body)) + body
    rest += bytes([len(topic)]) + topic + struct.pack(">h", len(properties)) + properties
    head = struct.pack(">i", -626843481) + bytes(40)
    return struct.pack(">i", 4 + len(head) + len(rest)) + head + rest


def test_of_a_message_little_is_shown_and_no_secret(broker, live):
    body = f'{{"password": "{SECRET}", "é": "{"x" * 5000}"}}'.encode()
    properties = f"KEYS\1order 17\2token\1{SECRET}\2RETRY_TOPIC\1T-1\2REAL_TOPIC\1password={SECRET}\2".encode()
    (one,) = Messages(Server(broker(answers(body=message(body, properties))).address), "", (7,)).answer(live)
    shown = one["message"]
    assert len(shown["body"]) == 200
    assert shown["body"].startswith(f'{{"password": "{MASK}", "é": "xxx')
    assert shown["body_size"] == len(body)
    assert shown["properties"] == {
        "KEYS": "order 17",
        "token": MASK,
        "RETRY_TOPIC": "T-1",
        "REAL_TOPIC": f"password={MASK}",
    }


def test_bytes_that_are_no_message_are_told_beside_the_others(broker, live):
    (one,) = Messages(Server(broker(answers(body=b"\0\0\0\5x")).address), "T", (7,)).answer(live)
    assert one["message"] is None
    assert one["remark"].startswith("a message that ends early")


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────


def test_text_is_masked_and_names_are_not(broker, live):
    name = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"  # a group may be called as a token looks
    body = {
        "jstack": f"T1 waits\n  -Ddb.password={SECRET}\n" + "é" * 9000,
        "properties": {"secretKey": SECRET, "instanceName": "a"},
        "subscriptionSet": [{"topic": name, "subString": f"token={SECRET}"}],
        "mqTable": {f'{{"topic":"{name}"}}': {"locked": True}},
        "topicList": [name],
    }
    server = Server(broker(answers(body=json.dumps(body).encode(), remark=f"password={SECRET}")).address)
    answer = Call(server, 307, STUCK).answer(live)
    assert SECRET not in json.dumps(answer)
    assert answer["remark"] == f"password={MASK}"
    seen = answer["body"]
    assert seen["jstack"].endswith(f"password={MASK}\n" + "é" * 9000)
    assert seen["properties"] == {"secretKey": MASK, "instanceName": "a"}
    assert seen["subscriptionSet"][0] == {"topic": name, "subString": f"token={MASK}"}
    assert list(seen["mqTable"]) == [f'{{"topic":"{name}"}}']
    assert seen["topicList"] == [name]


def test_real_answers_lose_nothing_to_masking(broker, live):
    info = Call(Server(broker(replays).address), 307, STUCK).answer(live)["body"]
    real = next(item for item in REPLIES if item["code"] == 307)
    assert info["jstack"].encode() in base64.b64decode(real["body_b64"]).replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    assert live.redactor.counts == {}


def test_no_key_and_no_text_of_a_question_shows_a_secret():
    server = Server("127.0.0.1:1", credentials=Credentials("AK-the-user", SECRET, "the-token"))
    call = Call(server, 208, (("topic", "t"), ("consumerGroup", "g")))
    assert call.key() == "rocketmq 208 127.0.0.1:1 consumerGroup=g topic=t"
    for text in (repr(call), str(call), repr(server), Messages(server, "t", (1,)).key()):
        assert SECRET not in text
        assert "the-" not in text


def test_requests_are_signed(broker, live):
    cluster = broker(replays)
    Call(Server(cluster.address, credentials=Credentials("ak", SECRET)), 105, (("topic", "nope"),)).answer(live)
    fields = dict(cluster.requests[0].fields)
    expected = hmac.new(SECRET.encode(), b"aknope", hashlib.sha1).digest()
    assert base64.b64decode(fields.pop("Signature")) == expected
    assert fields == {"AccessKey": "ak", "topic": "nope"}


@pytest.mark.parametrize(
    ("code", "remark"),
    [
        (1, "org.apache.rocketmq.acl.common.AclException: No accessKey is configured, AclException.java:28"),
        (1, "AclException: Check signature failed for accessKey=x"),
        (16, "Authentication failed"),
    ],
)
def test_refused_credentials_are_a_matter_of_access(broker, live, code, remark):
    server = Server(broker(answers(code=code, remark=remark)).address)
    error = failure(Denied, Call(server, 208), live)
    assert remark in error.detail
    assert "--client-config FILE" in error.hint
    with_some = server._replace(credentials=Credentials("a", "b"))
    assert "check accessKey and secretKey" in failure(Denied, Call(with_some, 208), live).hint


def test_another_failure_is_none_of_access(broker, live):
    server = Server(broker(answers(code=1, remark="java.lang.NullPointerException")).address)
    assert Call(server, 208).answer(live)["code"] == 1


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def silent(connection, broker):
    while connection.recv(4096):
        pass


def test_one_that_never_answers_costs_its_time_once(broker, live):
    cluster = broker(silent)
    call = Call(Server(cluster.address), 106, within=0.3)
    began = time.monotonic()
    error = failure(TimedOut, call, live)
    assert 0.3 <= time.monotonic() - began < 5
    assert "takes connections, but did not answer within 0.3 s" in error.detail
    began = time.monotonic()
    for _ in range(20):
        assert "is not asked again" in failure(TimedOut, call, live).detail
    assert time.monotonic() - began < 5
    assert cluster.connections == 1


def test_many_questions_to_one_that_never_answers_cost_its_time_once(broker, live):
    cluster = broker(silent)
    questions = [Call(Server(cluster.address), 28, (("n", str(n)),), within=0.4) for n in range(40)]
    began = time.monotonic()
    assert {type(answer) for answer in LiveHost(live, "").gather(questions)} == {TimedOut}
    assert time.monotonic() - began < 3.5, "not ten times 0.4 s"


def test_one_slow_answer_does_not_end_it(broker, live):
    def serve(connection, broker):
        while True:
            asked = request(connection, broker)
            if asked.code != 307:
                connection.sendall(encode(recorded(asked)))

    server = Server(broker(serve).address)
    Call(server, 106).answer(live)
    failure(TimedOut, Call(server, 307, within=0.2), live)
    assert Call(server, 106).answer(live)["code"] == 0


def test_one_that_dribbles_is_given_up_in_time(broker, live):
    def serve(connection, broker):
        request(connection, broker)
        connection.sendall(struct.pack(">I", 1000))
        while True:
            connection.sendall(b"\0")
            time.sleep(0.02)

    began = time.monotonic()
    failure(TimedOut, Call(Server(broker(serve).address), 106, within=0.4), live)
    assert time.monotonic() - began < 5


def test_the_run_ends_before_the_answer(broker):
    live = live_for(0.3)
    began = time.monotonic()
    failure(TimedOut, Call(Server(broker(silent).address), 106, within=60), live)
    assert time.monotonic() - began < 5
    failure(TimedOut, Call(Server(broker(silent).address), 106), live_for(-1))


def test_a_stop_wakes_who_waits_and_closes_everything(broker):
    before = len(os.listdir("/proc/self/fd"))
    cluster = broker(silent)
    patient = broker(replays)
    live = live_for(60)
    Call(Server(patient.address), 106).answer(live)
    errors = []

    def ask():
        try:
            Call(Server(cluster.address), 106, within=50).answer(live)
        except ProbeError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(remoting.CONNECTIONS + 3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: cluster.connections == remoting.CONNECTIONS, "all connections")
    began = time.monotonic()
    live.stop(0)
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - began < 5
    assert {type(error) for error in errors} <= {Interrupted, TimedOut}
    assert len(errors) == len(threads)
    failure(Interrupted, Call(Server(patient.address), 106), live)
    cluster.close()
    patient.close()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "all descriptors to be closed")


# ── what is not RocketMQ ─────────────────────────────────────────────────────────────────────────


def test_nobody_listens(live):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(Unreachable, Call(Server(f"127.0.0.1:{port}"), 106), live)
    assert "Connection refused" in error.detail
    assert error.hint == f"nc -vz 127.0.0.1 {port}"


def test_a_queue_that_is_full_is_given_up_in_time(live, monkeypatch):
    from opsdoc.clients import tcp

    monkeypatch.setattr(tcp, "CONNECT", 0.3)
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # nobody accepts: soon the kernel answers no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        assert "does not take a connection in time" in failure(TimedOut, Call(Server(address), 106), live).detail
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("address", ["", "h", "h:", ":9876", "h:0", "h:65536", "h:9876x", "h:-1", "a:b:c", "h:²"])
def test_an_address_that_is_none(live, address):
    assert "not an address" in failure(Malformed, Call(Server(address), 106), live).detail


def test_a_name_that_can_be_none(live):
    error = failure(Unreachable, Call(Server("a..b`x`:9876"), 106), live)
    assert error.hint == "", "no command is made of what could run"


@pytest.mark.parametrize(
    ("data", "kind", "what", "advice"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", Malformed, "it is an HTTP server", "9876"),
        (b"<html>400", Malformed, "it is an HTTP server", "9876"),
        (b"\x15\x03\x03\0\x02\x02\x46", Unsupported, "it speaks TLS only", "--tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Malformed, "it is an SSH server", "9876"),
        (b"-ERR unknown command\r\n", Malformed, "it is a Redis server", "9876"),
        (b"\0\0\x12\4\0\0\0\0\0" + bytes(18), Malformed, "gRPC port", "9876"),
        (b"\x7f\xff\xff\xff\0\0\0\x10", Malformed, "neither a name server nor a broker", "9876"),
        (b"\xff" * 100, Malformed, "neither a name server nor a broker", "9876"),
        (b"\0\0\0\x64" + b"\0" * 10, Malformed, "its reply ends after 14 bytes", "9876"),
        (b"\0\0\0", Malformed, "its reply ends after 3 bytes", "9876"),
        (b"\0\0\0\x08\0\xff\xff\xff{}{}", Malformed, "a header of 16777215 bytes in a frame of 8", "9876"),
        (b"\0\0\0\x08\x02\0\0\4{}{}", Malformed, "a header of kind 2", "9876"),
    ],
)
def test_it_is_something_else(broker, live, data, kind, what, advice):
    error = failure(kind, Call(Server(broker(says(data)).address), 106, within=2), live)
    assert what in error.detail
    assert repr(data[:4])[2:-1] in error.detail, "its first bytes"
    assert advice in error.hint
    assert len(error.detail) < 400


def test_a_body_that_is_no_json(broker, live):
    error = failure(Malformed, Call(Server(broker(answers(body=b"\0oops")).address), 106), live)
    assert "answers request 106: not JSON" in error.detail
    assert "oops" in error.detail


@pytest.mark.parametrize("claim", [2**31 - 1, 60 << 20])
def test_a_frame_that_claims_much_takes_no_memory(broker, live, claim):
    server = Server(broker(says(struct.pack(">I", claim) + b"\0" * 100)).address)
    tracemalloc.start()
    failure(Malformed, Call(server, 106, within=2), live)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_it_hangs_up_at_once(broker, live):
    def serve(connection, broker):
        connection.recv(1)

    error = failure(Unreachable, Call(Server(broker(serve).address), 106), live)
    assert "closes the connection without an answer" in error.detail


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def encrypted(serve):
    """A server as RocketMQ with `tls.server.mode=enforcing`: to whoever speaks no TLS it closes the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)

    def run(connection, broker):
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            with context.wrap_socket(connection, server_side=True) as wrapped:
                serve(wrapped, broker)

    return run


def test_over_tls_all_is_the_same(broker, live):
    cluster = broker(encrypted(replays))
    server = Server(cluster.address, tls=True, ca=CERTIFICATE)
    for _ in range(3):
        assert Call(server, 317, (("isOrder", "false"),)).answer(live)["body"]["totalDiff"] == 158
    assert cluster.connections == 1


def test_a_stop_wakes_who_waits_over_tls(broker):
    cluster = broker(encrypted(lambda connection, broker: request(connection, broker) and silent(connection, broker)))
    live = live_for(60)
    threading.Thread(
        target=lambda: (wait_until(lambda: cluster.requests, "the request"), live.stop(0)), daemon=True
    ).start()
    began = time.monotonic()
    failure(Interrupted, Call(Server(cluster.address, tls=True, ca=CERTIFICATE), 106, within=50), live)
    assert time.monotonic() - began < 5


def test_plain_to_a_port_that_wants_tls(broker, live):
    error = failure(Unsupported, Call(Server(broker(encrypted(replays)).address), 106), live)
    assert "speaks TLS only" in error.detail
    assert "--tls" in error.hint


def test_tls_to_a_port_that_speaks_none(broker, live):
    greeting = broker(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    for cluster in (greeting, broker(replays)):
        error = failure(Malformed, Call(Server(cluster.address, tls=True, ca=CERTIFICATE), 106), live)
        assert "does not speak TLS" in error.detail
        assert "--tls" in error.hint
    mute = Server(broker(silent).address, tls=True, ca=CERTIFICATE)
    assert "TLS handshake" in failure(TimedOut, Call(mute, 106, within=0.3), live).detail


def test_a_certificate_of_nobody_we_trust(broker, live):
    error = failure(Unreachable, Call(Server(broker(encrypted(replays)).address, tls=True), 106), live)
    assert "not trusted" in error.detail
    assert "--tls-ca FILE" in error.hint


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read(broker, live, tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match="cannot read authorities"):
        Call(Server(broker(replays).address, tls=True, ca=file), 106).answer(live)


# ── recorded ─────────────────────────────────────────────────────────────────────────────────────


def test_a_recording_answers_the_same_without_a_broker(broker, tmp_path):
    server = Server(broker(replays).address)
    host = RecordingHost(live_for(), "2026-11-22T21:53:54Z")
    questions = [Call(server, 106), Call(server, 317, (("isOrder", "false"),)), Messages(server, "", (32484, 32784))]
    seen = [host.ask(question).value for question in questions]
    host.stop(0)
    host.save(tmp_path / "case", {"tool": "opsdoc", "probe": "mq.rocketmq", "options": {}, "cut_short": None})
    replay = ReplayHost(tmp_path / "case")
    assert [replay.ask(question).value for question in questions] == seen
    assert len(seen[2]) == 2
