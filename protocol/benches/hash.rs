//! What hashing a key costs, by its length.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dht_protocol::placement::hash::HashKey;

fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    for key_bytes in [16, 64, 1_024] {
        let key = vec![0xA5; key_bytes];
        group.throughput(Throughput::Bytes(key_bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(key_bytes), key.as_slice(), |bencher, key| {
            bencher.iter(|| HashKey::GUESSABLE.hash(black_box(key)));
        });
    }
    group.finish();
}

criterion_group!(benches, hash);
criterion_main!(benches);
