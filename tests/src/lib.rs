//! What proves Twinlog on the real thing: real Kafka clusters, real etcd, the real binaries, and a reader and a producer
//! that share no code with it.
//!
//! `sandbox` starts and stops the processes, `tools` drives the Java producer and reader, `verify` compares what they read, `marks` finds what must not
//! be shown, `house` finds circles among modules. `broker` is the one thing that isn't real:
//! a strict fake that does on order what real brokers do once a year.

pub mod api;
pub mod bench;
pub mod broker;
pub mod controller;
pub mod demo;
pub mod house;
pub mod marks;
pub mod sandbox;
pub mod token_server;
pub mod tools;
pub mod verify;
pub mod world;

// It has the function that the build script puts in place of one of librdkafka's.
use twinlog_worker as _;
