"""Redis' own client for Python against a daemon's RESP door, in both protocols."""

import sys

import redis


def check(port, protocol):
    client = redis.Redis(port=port, protocol=protocol, decode_responses=True, client_name="test")
    assert client.ping()
    client.flushdb()
    assert client.get("a") is None
    assert client.set("a", "1")
    assert client.set("a", "2", nx=True) is None
    assert client.set("a", "2", xx=True, get=True) == "1"
    assert client.getset("a", "3") == "2" and client.getdel("a") == "3"
    assert client.setnx("a", "4") and not client.setnx("a", "5")
    assert client.incr("n") == 1 and client.incrby("n", 10) == 11 and client.decr("n", 2) == 9
    assert client.append("t", "ab") == 2 and client.strlen("t") == 2 and client.type("t") == "string"
    assert client.mset({f"k:{number}": number for number in range(2000)})
    assert client.mget("k:0", "none", "k:1999") == ["0", None, "1999"]
    assert client.exists("k:0", "none") == 1
    assert client.dbsize() == 2003
    names = list(client.scan_iter(match="k:*", count=100))
    assert len(names) == 2000 and len(set(names)) == 2000
    with client.pipeline(transaction=False) as pipeline:
        for number in range(1000):
            pipeline.get(f"k:{number}")
        assert pipeline.execute() == [str(number) for number in range(1000)]
    assert client.delete("k:0", "none") == 1 and client.unlink("k:1") == 1
    try:
        client.set("a", "1", ex=10)
        raise AssertionError("an expiry was taken")
    except redis.ResponseError as error:
        assert "not supported" in str(error)
    assert client.client_getname() == "test"
    assert client.info()["redis_mode"] == "standalone"
    assert client.config_get("save") == {"save": ""}
    client.flushdb()
    assert client.dbsize() == 0
    client.close()


for version in (2, 3):
    check(int(sys.argv[1]), version)
print("ok")
