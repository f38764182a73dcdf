//! `dht-bench`, the load generator.
