//! What it costs to write and to read the frames of a `GET` and a `PUT`, a batch of them as a connection brings it.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dht_protocol::frame::{Cut, cut};
use dht_protocol::header::Header;
use dht_protocol::ids::{Cfg, Epoch, RequestId, Version};
use dht_protocol::limits::BODY_BYTES_MAX;
use dht_protocol::op::Op;
use dht_protocol::request::{Condition, Key, Request, WriteToken};
use dht_protocol::response::Response;
use dht_protocol::value::{ValueRef, ValueType};

/// Frames of a batch.
const BATCH: u64 = 64;
const EPOCH: Epoch = Epoch(1);

/// Gives `take` each frame of `buffer`.
fn each_frame(mut buffer: &[u8], mut take: impl FnMut(&Header, &[u8])) {
    while let Cut::Frame { header, body, frame_bytes } = cut(buffer, BODY_BYTES_MAX) {
        take(&header, body);
        buffer = &buffer[frame_bytes..];
    }
}

fn write_all(out: &mut Vec<u8>, mut write: impl FnMut(RequestId, &mut Vec<u8>)) {
    out.clear();
    (0..BATCH).for_each(|number| write(RequestId(number as u32), out));
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(BATCH));
    let key = Key::new(b"user:00000000001").expect("a key of 16 bytes");
    let bytes = vec![7; 1_024];
    let put = |value_bytes: usize| Request::Put {
        key,
        value: ValueRef { value_type: ValueType::BYTES, bytes: &bytes[..value_bytes] },
        condition: Condition::Always,
        token: Some(WriteToken { seq: 1_000, floor: 990, retry: false }),
    };
    for (name, request) in [("get", Request::Get { key }), ("put_32", put(32)), ("put_1024", put(1_024))] {
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| {
                write_all(&mut out, |id, out| black_box(&request).encode(id, EPOCH, out));
                black_box(out.len())
            });
        });
        write_all(&mut out, |id, out| request.encode(id, EPOCH, out));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| {
                each_frame(black_box(&out), |header, body| {
                    assert!(black_box(Request::decode(header, body)).is_ok());
                });
            });
        });
    }
    group.finish();
}

fn responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("response");
    group.throughput(Throughput::Elements(BATCH));
    let bytes = vec![7; 1_024];
    let version = Version::new(Cfg::new(7), 1_000);
    let found = |value_bytes: usize| Response::Found {
        version,
        value: ValueRef { value_type: ValueType::BYTES, bytes: &bytes[..value_bytes] },
    };
    for (name, op, response) in [
        ("found_32", Op::Get, found(32)),
        ("found_1024", Op::Get, found(1_024)),
        ("version", Op::Put, Response::Version(version)),
    ] {
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| {
                write_all(&mut out, |id, out| black_box(&response).encode(id, EPOCH, out));
                black_box(out.len())
            });
        });
        write_all(&mut out, |id, out| response.encode(id, EPOCH, out));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| {
                each_frame(black_box(&out), |header, body| {
                    assert!(black_box(Response::decode(op, header, body)).is_ok());
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, responses);
criterion_main!(benches);
