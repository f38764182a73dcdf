#!/usr/bin/env python3
"""A client of the distributed hash table in Python's standard library, written from protocol/PROTOCOL.md alone.

It is there to show that the document is enough to write one, and to check a cluster from outside:

    python3 dht_client.py HOST:PORT      runs against a live cluster; prints "ok"
    python3 dht_client.py --self-test    needs none: hash vectors and examples of PROTOCOL.md

It keeps one request under way at a time, except in `Connection.pipeline`. Section numbers are PROTOCOL.md's.
"""

import pathlib
import re
import secrets
import socket
import struct
import sys
import time
from collections import namedtuple

VERSION = 1
HEADER = struct.Struct(">IBBHII")
WRITE_HEAD = struct.Struct(">HBBQQ")

HELLO, MAP, PING, STATS = 0x01, 0x02, 0x03, 0x04
GET, EXISTS, PUT, DELETE, ADD, APPEND, SCAN, PEER_HELLO = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x18, 0x40
IF_ABSENT, IF_PRESENT, IF_VERSION, RETRY = 1, 2, 4, 8
BYTES, TEXT, INT, FLOAT, BOOL, JSON, MSGPACK, USER = 0, 1, 2, 3, 4, 5, 6, 128

OK, NOT_FOUND, CONDITION_FAILED, WRONG_TYPE, OVERFLOW = 0, 1, 2, 3, 4
MALFORMED, UNKNOWN_VERSION, UNKNOWN_OPCODE, UNKNOWN_FLAG, TOO_LARGE, BAD_KEY, BAD_VALUE = range(16, 23)
HELLO_REQUIRED, WRONG_CLUSTER, SPAN_TOO_WIDE = 23, 24, 25
NOT_OWNER, OUT_OF_MEMORY, BUSY, SHUTTING_DOWN, UNAVAILABLE, NOT_ENOUGH_REPLICAS, OUTCOME_UNKNOWN = *range(32, 38), 48
RETRYABLE = {NOT_OWNER, BUSY, SHUTTING_DOWN, UNAVAILABLE, NOT_ENOUGH_REPLICAS}

BODY_BYTES_MAX = 16_842_815
SCAN_PARTITIONS_MAX = 1_024
SCAN_VALUE_INLINE_BYTES_MAX = 32_768
CURSOR_BITS = 53
ATTEMPTS_MAX = 8

Answer = namedtuple("Answer", "version status flags request_id epoch body")
Greeting = namedtuple(
    "Greeting", "version node features cluster_id incarnation value_bytes_max body_bytes_max write_span_max")
Entry = namedtuple("Entry", "key version type value_bytes value")
Page = namedtuple("Page", "partitions_done next entries")
Found = namedtuple("Found", "version type value")


class Refused(Exception):
    """The node answered with a status other than OK."""

    def __init__(self, status, body):
        self.status = status
        self.version = self.partition = self.primary = None
        text = ""
        if status == CONDITION_FAILED:
            (self.version,) = struct.unpack(">Q", body)
        elif status == NOT_OWNER:
            self.partition, self.cfg, self.primary = struct.unpack(">III", body)
        else:
            text = body.decode("utf-8")
        super().__init__(f"status {status} {text}")


class OutcomeUnknown(Exception):
    """A write may have been applied, or not."""


class BrokenProtocol(Exception):
    """The node does not keep to PROTOCOL.md."""


# --- Hash and map (sections 9 and 5) ---------------------------------------------------------------------------

MASK = (1 << 64) - 1


def siphash_1_3(key, data):
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rotl(word, bits):
        return ((word << bits) | (word >> (64 - bits))) & MASK

    def sip_round(v0, v1, v2, v3):
        v0, v2 = (v0 + v1) & MASK, (v2 + v3) & MASK
        v1, v3, v0 = rotl(v1, 13) ^ v0, rotl(v3, 16) ^ v2, rotl(v0, 32)
        v2, v0 = (v2 + v1) & MASK, (v0 + v3) & MASK
        v1, v3, v2 = rotl(v1, 17) ^ v2, rotl(v3, 21) ^ v0, rotl(v2, 32)
        return v0, v1, v2, v3

    whole = len(data) - len(data) % 8
    words = [word for (word,) in struct.iter_unpack("<Q", data[:whole])]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) % 256) << 56)
    for word in words:
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


class ClusterMap:
    def __init__(self, body):
        fields = struct.Struct(">H16sI16sBBH")
        form, cluster, self.epoch, self.hash_key, self.log2, reserved, count = fields.unpack_from(body)
        check(form == 1 and reserved == 0 and self.epoch > 0 and 4 <= self.log2 <= 16, "map")
        self.cluster_id = int.from_bytes(cluster, "big")
        at = fields.size
        self.nodes = {}
        for _ in range(count):
            node, length = struct.unpack_from(">IH", body, at)
            at += 6
            self.nodes[node] = body[at:at + length].decode("utf-8")
            at += length
        rest = body[at:]
        check(len(rest) == 8 << self.log2, "length of the map")
        self.primaries = [primary for _cfg, primary in struct.iter_unpack(">II", rest)]
        check(all(primary in self.nodes for primary in self.primaries), "primaries of the map")

    def hash(self, key):
        return siphash_1_3(self.hash_key, key)

    def partition(self, key):
        return self.hash(key) >> (64 - self.log2)

    def address(self, partition):
        return self.nodes[self.primaries[partition]]

    def partitions_by_node(self):
        shares = {}
        for partition, primary in enumerate(self.primaries):
            shares.setdefault(primary, []).append(partition)
        return shares

    def cursor_start(self, partition):
        return partition << (CURSOR_BITS - self.log2)


# --- Bodies (section 5) ----------------------------------------------------------------------------------------


def hello_body(client_id, cluster_id, lowest=1, highest=1):
    ids = client_id.to_bytes(16, "big") + cluster_id.to_bytes(16, "big")
    return struct.pack(">BBHQ", lowest, highest, 0, 0) + ids


def write_head(key, value_type, seq, floor):
    return WRITE_HEAD.pack(len(key), value_type, 0, seq, floor)


def put_body(key, value_type, value, seq=0, floor=0, expected=None):
    condition = b"" if expected is None else struct.pack(">Q", expected)
    return write_head(key, value_type, seq, floor) + condition + key + value


def delete_body(key, seq=0, floor=0, expected=None):
    return put_body(key, 0, b"", seq, floor, expected)


def add_body(key, delta, seq=0, floor=0):
    return write_head(key, 0, seq, floor) + struct.pack(">q", delta) + key


def append_body(key, value_type, suffix, seq=0, floor=0):
    return write_head(key, value_type, seq, floor) + key + suffix


def scan_body(cursor, entries_max, partitions, prefix):
    head = struct.pack(">QIHH", cursor, entries_max, len(partitions), len(prefix))
    return head + struct.pack(f">{len(partitions)}I", *partitions) + prefix


def read_greeting(body):
    version, reserved, node, features, cluster, *rest = struct.unpack(">B3sIQ16sQIII", body)
    check(reserved == bytes(3), "reserved bytes of a greeting")
    return Greeting(version, node, features, int.from_bytes(cluster, "big"), *rest)


def read_found(body):
    version, value_type = struct.unpack_from(">QB", body)
    return Found(version, value_type, body[9:])


def read_page(body):
    done, reserved, following, count = struct.unpack_from(">HHQI", body)
    check(reserved == 0 and following <= 1 << CURSOR_BITS, "head of a page")
    entries, at = [], 16
    for _ in range(count):
        version, value_type, left_out, key_bytes, value_bytes = struct.unpack_from(">QBBHI", body, at)
        check(left_out in (0, 1), "flag of an entry")
        at += 16
        key = body[at:at + key_bytes]
        at += key_bytes
        value = None if left_out else body[at:at + value_bytes]
        at += 0 if left_out else value_bytes
        entries.append(Entry(key, version, value_type, value_bytes, value))
    check(at == len(body), "length of a page")
    return Page(done, following, entries)


def read_stats(body):
    (count,) = struct.unpack_from(">H", body)
    stats, at = {}, 2
    for _ in range(count):
        length = body[at]
        name = body[at + 1:at + 1 + length].decode("utf-8")
        (stats[name],) = struct.unpack_from(">Q", body, at + 1 + length)
        at += 9 + length
    check(at == len(body), "length of the statistics")
    return stats


def check(holds, what):
    if not holds:
        raise BrokenProtocol(what)


# --- Connection (sections 2 and 3) -----------------------------------------------------------------------------


def frame(op, flags, request_id, epoch, body, version=VERSION):
    return HEADER.pack(12 + len(body), version, op, flags, request_id, epoch) + body


class Connection:
    def __init__(self, address, timeout=10):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request_id = 0
        self.greeting = None

    def close(self):
        self.socket.close()

    def hello(self, client_id, cluster_id):
        self.greeting = read_greeting(self.call(HELLO, hello_body(client_id, cluster_id)))
        check(self.greeting.version == VERSION, "version of the greeting")
        if cluster_id not in (0, self.greeting.cluster_id):
            raise BrokenProtocol("another cluster")
        return self.greeting

    def call(self, op, body=b"", flags=0, epoch=0):
        """The body of an OK answer; raises Refused for any other status."""
        answer = self.exchange(op, body, flags, epoch)
        if answer.status != OK:
            raise Refused(answer.status, answer.body)
        return answer.body

    def exchange(self, op, body=b"", flags=0, epoch=0):
        self.request_id = (self.request_id + 1) & 0xFFFF_FFFF
        self.socket.sendall(frame(op, flags, self.request_id, epoch, body))
        answer = self.receive()
        check(answer.request_id == self.request_id, "request id of an answer")
        return answer

    def pipeline(self, requests, epoch):
        """Sends all (op, body) at once; gives the answers in the order of the requests. Keep them few and small."""
        first = self.request_id + 1
        self.request_id += len(requests)
        frames = [frame(op, 0, first + i, epoch, body) for i, (op, body) in enumerate(requests)]
        self.socket.sendall(b"".join(frames))
        answers = {}
        for _ in requests:
            answer = self.receive()
            check(first <= answer.request_id <= self.request_id, "request id of an answer")
            check(answer.request_id not in answers, "an answer came twice")
            answers[answer.request_id] = answer
        return [answers[first + i] for i in range(len(requests))]

    def receive(self):
        length, *rest = HEADER.unpack(self.read(16))
        check(12 <= length <= 12 + BODY_BYTES_MAX, "length of an answer")
        answer = Answer(*rest, self.read(length - 12))
        check(answer.version == VERSION and answer.flags == 0, "header of an answer")
        return answer

    def read(self, count):
        pieces = []
        while count:
            piece = self.socket.recv(min(count, 1 << 16))
            if not piece:
                raise ConnectionError("the node closed the connection")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


# --- Client (sections 9, 10 and 11) ----------------------------------------------------------------------------


class Client:
    """Routes by the map, and never applies a write twice. One thread at a time."""

    def __init__(self, address, cluster_id=0):
        self.client_id = secrets.randbits(128) or 1
        self.cluster_id = cluster_id
        self.seq = 0
        self.connections = {}
        self.seed = address
        self.map = None
        self.cluster_id = self.hello(address).cluster_id
        self.fetch_map()

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()

    def hello(self, address):
        return self.connection(address).greeting

    def connection(self, address):
        if address not in self.connections:
            connection = Connection(address)
            try:
                connection.hello(self.client_id, self.cluster_id)
            except BaseException:
                connection.close()
                raise
            self.connections[address] = connection
        return self.connections[address]

    def drop(self, address):
        if address in self.connections:
            self.connections.pop(address).close()

    def fetch_map(self, address=None):
        fetched = ClusterMap(self.connection(address or self.seed).call(MAP))
        check(fetched.cluster_id == self.cluster_id, "cluster id of the map")
        if self.map is None or fetched.epoch > self.map.epoch:
            self.map = fetched
        return self.map

    def stats(self, address=None):
        return read_stats(self.connection(address or self.seed).call(STATS))

    def ping(self):
        for address in self.map.nodes.values():
            check(self.connection(address).call(PING) == b"", "answer to PING")

    def get(self, key):
        """The entry as Found, or None."""
        try:
            return read_found(self.on_key(key, GET, key))
        except Refused as refused:
            return none_if_not_found(refused)

    def exists(self, key):
        """The entry's version, or None."""
        try:
            return struct.unpack(">Q", self.on_key(key, EXISTS, key))[0]
        except Refused as refused:
            return none_if_not_found(refused)

    def put(self, key, value, value_type=BYTES, flags=0, expected=None):
        """The version written. `expected` makes it conditional on that version."""
        flags |= 0 if expected is None else IF_VERSION
        body = self.write(key, PUT, flags, lambda seq: put_body(key, value_type, value, seq, seq, expected))
        return struct.unpack(">Q", body)[0]

    def delete(self, key, expected=None):
        """The version of the removal, or None if there was nothing to remove."""
        flags = 0 if expected is None else IF_VERSION
        try:
            body = self.write(key, DELETE, flags, lambda seq: delete_body(key, seq, seq, expected))
            return struct.unpack(">Q", body)[0]
        except Refused as refused:
            return none_if_not_found(refused)

    def add(self, key, delta):
        """(version, counter)"""
        return struct.unpack(">Qq", self.write(key, ADD, 0, lambda seq: add_body(key, delta, seq, seq)))

    def append(self, key, suffix, value_type=BYTES):
        """(version, length)"""
        body = self.write(key, APPEND, 0, lambda seq: append_body(key, value_type, suffix, seq, seq))
        return struct.unpack(">QI", body)

    def scan(self, prefix=b"", entries_max=1_000):
        """Every entry whose key begins with `prefix`; values left out of a page are fetched."""
        # (partitions, cursor) still to be scanned; NOT_OWNER and a new map split them again.
        todo = [(share[i:i + SCAN_PARTITIONS_MAX], 0) for share in self.map.partitions_by_node().values()
                for i in range(0, len(share), SCAN_PARTITIONS_MAX)]
        attempts = 0
        while todo:
            partitions, cursor = todo.pop()
            address = self.map.address(partitions[0])
            try:
                body = scan_body(cursor, entries_max, partitions, prefix)
                page = read_page(self.connection(address).call(SCAN, body, epoch=self.map.epoch))
            except (Refused, OSError) as error:
                attempts += 1
                self.recover(address, error, attempts)
                todo.append((partitions[:1], cursor))
                todo.extend(([partition], 0) for partition in partitions[1:])
                continue
            attempts = 0
            check(page.partitions_done <= len(partitions), "partitions done")
            start = max(cursor, self.map.cursor_start(partitions[0]))
            check(page.partitions_done > 0 or page.next > start, "a page without progress")
            for entry in page.entries:
                check(entry.key.startswith(prefix), "prefix of an entry")
                inline_max = SCAN_VALUE_INLINE_BYTES_MAX
                check(entry.value is None or entry.value_bytes <= inline_max, "value too long for a page")
                if entry.value is None:
                    found = self.get(entry.key)
                    if found is None:
                        continue
                    entry = Entry(entry.key, found.version, found.type, len(found.value), found.value)
                yield entry
            left = partitions[page.partitions_done:]
            if left:
                todo.append((left, page.next))

    def write(self, key, op, flags, body_of):
        """One write at a time, so the lowest unanswered number is the write's own."""
        self.seq += 1
        return self.on_key(key, op, body_of(self.seq), flags, is_write=True)

    def on_key(self, key, op, body, flags=0, is_write=False):
        sent_to = None
        for attempt in range(1, ATTEMPTS_MAX + 1):
            address = self.map.address(self.map.partition(key))
            retry = 0
            try:
                connection = self.connection(address)
                # A copy may go only to the very process that may have the first one (section 10).
                if sent_to not in (None, connection.greeting.incarnation):
                    raise OutcomeUnknown("the node has started anew")
                retry = RETRY if sent_to is not None else 0
                if is_write:
                    sent_to = connection.greeting.incarnation
                return connection.call(op, body, flags | retry, self.map.epoch)
            except Refused as refused:
                if refused.status == OUTCOME_UNKNOWN:
                    raise OutcomeUnknown(str(refused)) from refused
                # "Not done" speaks of this copy. If it was the first, no other is under way.
                if not retry:
                    sent_to = None
                self.recover(address, refused, attempt)
            except OSError as error:
                try:
                    self.recover(address, error, attempt)
                except OSError:
                    if sent_to is not None:
                        raise OutcomeUnknown("the connection was lost") from error
                    raise
        raise BrokenProtocol("unreachable: the last attempt raises")

    def recover(self, address, error, attempt):
        """Makes ready for another attempt, or raises the error."""
        retryable = isinstance(error, OSError) or error.status in RETRYABLE
        if not retryable or attempt == ATTEMPTS_MAX:
            raise error
        if isinstance(error, OSError):
            self.drop(address)
        elif error.status == NOT_OWNER:
            self.fetch_map(address)
        if attempt > 1 or isinstance(error, OSError) or error.status != NOT_OWNER:
            time.sleep(0.02 * 2 ** attempt)


def none_if_not_found(refused):
    if refused.status != NOT_FOUND:
        raise refused
    return None


# --- Checks that need no cluster -------------------------------------------------------------------------------


def document():
    return (pathlib.Path(__file__).resolve().parents[2] / "protocol" / "PROTOCOL.md").read_text("utf-8")


def hex_blocks(text):
    blocks = {}
    for name, lines in re.findall(r"```hex name=(\S+)\n(.*?)```", text, re.S):
        blocks[name] = bytes.fromhex("".join(line.split("#")[0] for line in lines.splitlines()))
    return blocks


def self_test():
    text = document()
    row = r"^\| ([0-9a-f]{32}) \| ([0-9a-f]*) ?\| ([0-9a-f]{16}) \| (\d+) \| (\d+) \| 0x([0-9a-f]+) \|$"
    rows = re.findall(row, text, re.M)
    assert len(rows) >= 3, "hash vectors of PROTOCOL.md"
    for key, data, expected, of_4096, of_16, cursor in rows:
        number = siphash_1_3(bytes.fromhex(key), bytes.fromhex(data))
        assert f"{number:016x}" == expected, (data, hex(number))
        assert (number >> 52, number >> 60, number >> 11) == (int(of_4096), int(of_16), int(cursor, 16))
    blocks = hex_blocks(text)
    self_test_requests(blocks)
    self_test_answers({name: split(block) for name, block in blocks.items() if name.endswith("-answer")})


def split(block):
    length, *rest = HEADER.unpack_from(block)
    assert length == len(block) - 4
    return Answer(*rest, block[16:])


def self_test_requests(blocks):
    client, version = 0x000102030405060708090A0B0C0D0E0F, 0xA1B2C30000000001
    cluster = read_greeting(split(blocks["hello-answer"]).body).cluster_id
    peer = cluster.to_bytes(16, "big") + struct.pack(">QIQ", 0x99AABBCCDDEEFF00, 1, 1_500)
    built = {
        "hello-request": (HELLO, 0, 1, 0, hello_body(client, 0)),
        "map-request": (MAP, 0, 2, 0, b""),
        "put-request": (PUT, 0, 3, 1, put_body(b"user:1", TEXT, b"Ada", 1, 1)),
        "get-request": (GET, 0, 4, 1, b"user:1"),
        "delete-request": (DELETE, 0, 5, 1, delete_body(b"user:1", 2, 2)),
        "scan-request": (SCAN, 0, 6, 1, scan_body(0, 2, [0, 2], b"user:")),
        "ping-request": (PING, 0, 7, 0, b""),
        "stats-request": (STATS, 0, 8, 1, b""),
        "exists-request": (EXISTS, 0, 9, 1, b"k"),
        "put-without-token-request": (PUT, 0, 10, 1, put_body(b"k", TEXT, b"v")),
        "put-if-absent-request": (PUT, IF_ABSENT, 11, 1, put_body(b"k", TEXT, b"v", 7, 5)),
        "put-if-present-request": (PUT, IF_PRESENT, 12, 1, put_body(b"k", TEXT, b"v", 7, 5)),
        "put-if-version-request": (PUT, IF_VERSION | RETRY, 13, 1, put_body(b"k", TEXT, b"v", 7, 5, version)),
        "delete-if-version-request": (DELETE, IF_VERSION, 14, 1, delete_body(b"k", 7, 5, version)),
        "add-request": (ADD, 0, 15, 1, add_body(b"n", -2, 7, 5)),
        "append-request": (APPEND, 0, 16, 1, append_body(b"k", BYTES, b"tail", 7, 5)),
        "peer-hello-request": (PEER_HELLO, 0, 17, 1, peer),
    }
    # The document shows PEER_HELLO under the sender's own epoch.
    for name, block in blocks.items():
        if name.endswith("-request"):
            assert frame(*built.pop(name)) == block, name
    assert not built, built.keys()


def self_test_answers(answers):
    greeting = read_greeting(answers["hello-answer"].body)
    assert greeting[:1] + greeting[4:] == (1, 0x1122334455667788, 16 << 20, BODY_BYTES_MAX, 1 << 20)
    cluster_map = ClusterMap(answers["map-answer"].body)
    assert cluster_map.nodes == {0: "127.0.0.1:7400", 1: "127.0.0.1:7401"}
    assert cluster_map.cluster_id == greeting.cluster_id and cluster_map.epoch == 1
    assert cluster_map.partition(b"user:1") == 2 and cluster_map.address(2) == "127.0.0.1:7400"
    found = read_found(answers["get-answer"].body)
    assert found == (0xA1B2C30000000001, TEXT, b"Ada")
    page = read_page(answers["scan-answer"].body)
    assert (page.partitions_done, page.next) == (1, 0x470BC69B71974)
    assert [(e.key, e.type, e.value_bytes, e.value) for e in page.entries] == [
        (b"user:20", TEXT, 5, b"Grace"), (b"user:6", BYTES, 40_000, None)]
    for entry, partition in zip(page.entries, (0, 2)):
        assert cluster_map.partition(entry.key) == partition
    assert cluster_map.hash(b"user:6") >> 11 == page.next - 1
    assert read_stats(answers["stats-answer"].body) == {"keys": 3, "requests_total": 1_000}
    refusals = {name: Refused(a.status, a.body) for name, a in answers.items() if a.status != OK}
    assert refusals["condition-failed-answer"].version == found.version
    assert (refusals["not-owner-answer"].partition, refusals["not-owner-answer"].primary) == (3, 1)
    assert "no such key" in str(refusals["not-found-answer"])
    assert refusals["busy-answer"].status == BUSY


# --- Checks against a live cluster -----------------------------------------------------------------------------


def live_test(address):
    live_test_doors(address)
    client = Client(address)
    assert client.cluster_id == client.map.cluster_id
    client.ping()
    assert client.stats(), "no statistics"
    # Names of their own, so that a cluster in use is not disturbed.
    prefix = f"dht_client.py:{secrets.token_hex(8)}:".encode()
    try:
        live_test_entries(client, prefix)
        live_test_conditions(client, prefix + b"condition")
        live_test_counters(client, prefix)
        live_test_tokens(client, prefix + b"token")
        live_test_owners(client, prefix + b"owner")
        live_test_pipeline(client, prefix)
    finally:
        for entry in list(client.scan(prefix)):
            client.delete(entry.key)
    assert not list(client.scan(prefix)), "entries are left after all were deleted"
    client.close()


def live_test_doors(address):
    """What a connection is told before and about HELLO, and what closes it."""
    connection = Connection(address)
    assert connection.exchange(PING).status == OK
    assert connection.exchange(GET, b"k", epoch=1).status == HELLO_REQUIRED
    assert connection.exchange(MAP).status == HELLO_REQUIRED
    greeting = connection.hello(1, 0)
    other = greeting.cluster_id ^ 1 or 2
    assert connection.exchange(0x7F).status == UNKNOWN_OPCODE
    assert connection.exchange(GET, b"k", flags=RETRY, epoch=1).status == UNKNOWN_FLAG
    assert connection.exchange(PUT, b"short", epoch=1).status == MALFORMED
    assert connection.exchange(GET, b"", epoch=1).status == BAD_KEY
    assert connection.exchange(GET, b"\xffk", epoch=1).status == BAD_KEY
    assert connection.exchange(PUT, put_body(b"k", 7, b"", 1, 1), epoch=1).status == BAD_VALUE
    assert connection.exchange(PUT, put_body(b"k", INT, b"1234567", 1, 1), epoch=1).status == BAD_VALUE
    assert connection.exchange(PING).status == OK, "a refusal must not close the connection"
    connection.close()

    connection = Connection(address)
    assert connection.exchange(HELLO, hello_body(1, other)).status == WRONG_CLUSTER
    assert connection.exchange(GET, b"k", epoch=1).status == HELLO_REQUIRED
    connection.close()

    for what, bytes_sent, status in [
        ("a version that nobody speaks", frame(PING, 0, 1, 0, b"", version=200), UNKNOWN_VERSION),
        ("no common version", frame(HELLO, 0, 1, 0, hello_body(1, 0, 200, 201)), UNKNOWN_VERSION),
        ("a length over the limit", HEADER.pack(0xFFFF_FFFF, VERSION, PING, 0, 1, 0), TOO_LARGE),
        ("a length below 12", HEADER.pack(11, VERSION, PING, 0, 1, 0), None),
    ]:
        connection = Connection(address)
        connection.socket.sendall(bytes_sent)
        try:
            answer = connection.receive()
            assert status is None or (answer.status, answer.request_id) == (status, 1), (what, answer)
            connection.receive()
            raise AssertionError(f"after {what} the connection stays open")
        except ConnectionError:
            pass
        connection.close()


def live_test_entries(client, prefix):
    values = [
        (TEXT, "grüße".encode()), (BYTES, bytes(range(256))), (INT, struct.pack(">q", -5)),
        (FLOAT, struct.pack(">d", 0.5)), (BOOL, b"\x01"), (JSON, b'{"a": [1, 2]}'), (MSGPACK, b"\x93\x01\x02\x03"),
        (USER, b""), (255, b"mine"), (TEXT, b""), (BYTES, b"x" * SCAN_VALUE_INLINE_BYTES_MAX),
    ]
    expected = {prefix + b"%d" % i: values[i % len(values)] for i in range(400)}
    expected[prefix + b"binary \x00\xfe\xff"] = (BYTES, b"any bytes but a first FF")
    for i in range(5):
        expected[prefix + b"large%d" % i] = (BYTES, bytes([i]) * (SCAN_VALUE_INLINE_BYTES_MAX + 1 + i * 100_000))
    versions = {key: client.put(key, value, value_type) for key, (value_type, value) in expected.items()}
    assert all(versions.values()), "a version is 0"
    for key, (value_type, value) in expected.items():
        assert client.get(key) == (versions[key], value_type, value), key
        assert client.exists(key) == versions[key], key
    for entries_max in (7, 1_000_000):
        seen = {}
        for entry in client.scan(prefix, entries_max):
            assert entry.key not in seen, f"{entry.key} came twice"
            seen[entry.key] = (entry.type, entry.value)
            assert entry.version == versions[entry.key]
        assert seen == expected, "a scan does not give what was written"
    assert not list(client.scan(prefix + b"no such key has a prefix like this"))
    assert not list(client.scan(b"\xff"))
    for key in expected:
        assert client.delete(key) > versions[key], key
        assert client.delete(key) is None and client.get(key) is None and client.exists(key) is None, key
    assert not list(client.scan(prefix))


def refusal(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Refused as refused:
        return refused.status, refused.version
    raise AssertionError(f"{arguments} was not refused")


def live_test_conditions(client, key):
    assert refusal(client.put, key, b"", flags=IF_PRESENT) == (CONDITION_FAILED, 0)
    assert refusal(client.put, key, b"", expected=9) == (CONDITION_FAILED, 0)
    assert refusal(client.delete, key, expected=9) == (CONDITION_FAILED, 0)
    assert refusal(client.delete, key, expected=0) == (CONDITION_FAILED, 0)
    first = client.put(key, b"1", flags=IF_ABSENT)
    assert refusal(client.put, key, b"", flags=IF_ABSENT) == (CONDITION_FAILED, first)
    assert refusal(client.put, key, b"", expected=0) == (CONDITION_FAILED, first)
    assert refusal(client.put, key, b"", flags=IF_ABSENT | IF_PRESENT) == (MALFORMED, None)
    second = client.put(key, b"2", expected=first)
    assert second > first
    assert refusal(client.put, key, b"", expected=first) == (CONDITION_FAILED, second)
    assert refusal(client.delete, key, expected=first) == (CONDITION_FAILED, second)
    third = client.put(key, b"3", flags=IF_PRESENT)
    assert client.get(key).value == b"3"
    removed = client.delete(key, expected=third)
    assert removed > third and client.get(key) is None
    fourth = client.put(key, b"4", expected=0)
    assert fourth > removed, "a version fell"


def live_test_counters(client, prefix):
    counter, text = prefix + b"counter", prefix + b"text"
    assert client.add(counter, 5)[1] == 5
    version, number = client.add(counter, -7)
    assert number == -2 and client.get(counter) == (version, INT, struct.pack(">q", -2))
    client.put(counter, struct.pack(">q", (1 << 63) - 1), INT)
    assert refusal(client.add, counter, 1)[0] == OVERFLOW
    client.put(text, b"-12", TEXT)
    assert client.add(text, 13)[1] == 1 and client.get(text)[1:] == (TEXT, b"1")
    for value in (b"007", b"+1", b"1 ", b"-0", b"", b"9223372036854775808"):
        client.put(text, value, TEXT)
        assert refusal(client.add, text, 1)[0] == WRONG_TYPE, value
    log = prefix + b"log"
    assert client.append(log, b"ab")[1] == 2
    version, length = client.append(log, b"cde")
    assert length == 5 and client.get(log) == (version, BYTES, b"abcde")
    assert refusal(client.append, log, b"x", TEXT)[0] == WRONG_TYPE
    assert refusal(client.append, log, b"{}", JSON)[0] == BAD_VALUE


def live_test_tokens(client, key):
    """Copies of a write, as retries and delays make them."""
    connection = client.connection(client.map.address(client.map.partition(key)))
    epoch = client.map.epoch

    def add(seq, floor, flags=0):
        return connection.exchange(ADD, add_body(key, 1, seq, floor), flags, epoch)

    first, second = client.seq + 1, client.seq + 2
    client.seq += 2
    answer = add(first, first)
    assert answer.status == OK
    assert add(first, first, RETRY).body == answer.body, "a copy must get the first one's answer"
    assert add(first, first).body == answer.body, "with or without the flag"
    assert struct.unpack(">Qq", add(second, second).body)[1] == 2, "a copy was applied"
    assert add(first, first, RETRY).status == OUTCOME_UNKNOWN, "a copy below the floor"
    assert client.get(key).value == struct.pack(">q", 2)
    assert add(second, second + 1).status == MALFORMED and add(0, 0, RETRY).status == MALFORMED
    wide = connection.greeting.write_span_max
    assert add(second + wide, second).status == SPAN_TOO_WIDE

    anonymous = Connection(client.map.address(client.map.partition(key)))
    anonymous.hello(0, client.cluster_id)
    assert anonymous.exchange(ADD, add_body(key, 1, 1, 1), epoch=epoch).status == MALFORMED
    assert struct.unpack(">Qq", anonymous.call(ADD, add_body(key, 1), epoch=epoch))[1] == 3
    anonymous.close()


def live_test_owners(client, key):
    partition = client.map.partition(key)
    owner = client.map.primaries[partition]
    for node, address in client.map.nodes.items():
        for epoch in (0, client.map.epoch):
            answer = client.connection(address).exchange(GET, key, epoch=epoch)
            if node == owner and epoch == client.map.epoch:
                assert answer.status == NOT_FOUND
            else:
                refused = Refused(answer.status, answer.body)
                assert (refused.status, refused.partition, refused.primary) == (NOT_OWNER, partition, owner)
    connection = client.connection(client.map.address(partition))
    assert connection.exchange(SCAN, scan_body(0, 1, [partition], b"")).status == NOT_OWNER, "a scan under epoch 0"
    too_high = scan_body(0, 1, [1 << client.map.log2], b"")
    assert connection.exchange(SCAN, too_high, epoch=client.map.epoch).status == MALFORMED


def live_test_pipeline(client, prefix):
    """Requests on one key are carried out in the order of sending, whatever the order of the answers."""
    key = prefix + b"pipeline"
    connection = client.connection(client.map.address(client.map.partition(key)))
    requests = []
    for i in range(100):
        requests += [(PUT, put_body(key, TEXT, b"%d" % i)), (GET, key)]
    answers = connection.pipeline(requests, client.map.epoch)
    for i in range(100):
        (written,) = struct.unpack(">Q", answers[2 * i].body)
        assert read_found(answers[2 * i + 1].body) == (written, TEXT, b"%d" % i), i


def main(arguments):
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    if arguments[0] == "--self-test":
        self_test()
    else:
        live_test(arguments[0])
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
