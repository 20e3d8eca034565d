//! The functions of the addon, without a word about Node: bytes in, bytes out, no input that panics.
//!
//! Everything here has a portable twin in TypeScript that gives the same answer to every question. What is wrong with
//! an input is told by [`InputError`]; what is merely invalid (a signature) is an answer.

#![deny(unsafe_code, missing_docs, clippy::undocumented_unsafe_blocks)]

mod field;
mod grain;
mod lanes;

pub mod ed25519;
pub mod hash;
pub mod input;
pub mod merkle;
pub mod ml_dsa;
pub mod poseidon;
pub mod state;

pub use input::InputError;

/// A BLAKE3-256 digest.
pub type Hash = [u8; 32];
