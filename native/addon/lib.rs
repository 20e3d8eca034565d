//! The addon: what `native/addon.ts` describes, for Node.
//!
//! Each function checks the sizes of its inputs, works, and answers with bytes of its own. Lists cross the boundary
//! packed: the items end to end, and their lengths. Functions whose name ends in `Async` copy their inputs before they
//! return, work on libuv's pool (which rayon's threads help), and answer with a promise.
//!
//! Nothing unwinds into Node: `guarded` turns a panic into an error with the code `native_panic`.
//!
//! There is no `unsafe` here. Node-API hands out the memory of JavaScript's arrays as slices, which is sound while
//! nobody else writes to them: a synchronous function holds up the only thread that could, and the caller
//! (`crypto/backend/native.ts`) hands over no shared memory.

#![deny(unsafe_code, missing_docs)]

mod state;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::Task;
use napi::bindgen_prelude::{
    AsyncTask, BigInt, BigUint64Array, BigUint64ArraySlice, Env, Error, Result, Status, Uint8Array, Uint8ArraySlice,
};
use napi_derive::napi;
use pyralog_native_core::ed25519::Claim;
use pyralog_native_core::input::{unpack, unpack_fixed};
use pyralog_native_core::{InputError, ed25519, hash, merkle, ml_dsa, poseidon};

/// What this addon and its callers have agreed on. `native/addon.ts` holds the number that it expects.
const INTERFACE_VERSION: u32 = 2;

/// Runs the work; a panic is an error of the caller's to report, and never crosses into Node.
fn guarded<T>(work: impl FnOnce() -> std::result::Result<T, InputError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::new(Status::InvalidArg, format!("native_input: {error}"))),
        Err(panic) => Err(Error::new(Status::GenericFailure, format!("native_panic: {}", panic_text(panic.as_ref())))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of another kind")
}

/// Work for libuv's pool, which owns its inputs.
pub struct Work<T: Send>(Option<Box<dyn FnOnce() -> std::result::Result<T, InputError> + Send>>);

impl<T: Send> Work<T> {
    fn task(work: impl FnOnce() -> std::result::Result<T, InputError> + Send + 'static) -> AsyncTask<Self>
    where
        Self: Task,
    {
        AsyncTask::new(Self(Some(Box::new(work))))
    }

    fn run(&mut self) -> Result<T> {
        let work = self.0.take().ok_or_else(|| Error::from_reason("native_panic: work was done before"))?;
        guarded(work)
    }
}

impl Task for Work<Vec<u8>> {
    type Output = Vec<u8>;
    type JsValue = Uint8Array;

    fn compute(&mut self) -> Result<Vec<u8>> {
        self.run()
    }

    fn resolve(&mut self, _env: Env, output: Vec<u8>) -> Result<Uint8Array> {
        Ok(output.into())
    }
}

impl Task for Work<Vec<u64>> {
    type Output = Vec<u64>;
    type JsValue = BigUint64Array;

    fn compute(&mut self) -> Result<Vec<u64>> {
        self.run()
    }

    fn resolve(&mut self, _env: Env, output: Vec<u64>) -> Result<BigUint64Array> {
        Ok(output.into())
    }
}

/// The version of the interface.
#[napi]
pub fn interface_version() -> u32 {
    INTERFACE_VERSION
}

/// BLAKE3-256 of the bytes.
#[napi]
pub fn blake3<'env>(env: &'env Env, bytes: &[u8]) -> Result<Uint8ArraySlice<'env>> {
    let digest = guarded(|| Ok(hash::hash(bytes)))?;
    copied(env, &digest)
}

/// As `blake3`, on the pool.
#[napi]
pub fn blake3_async(bytes: &[u8]) -> AsyncTask<Work<Vec<u8>>> {
    let bytes = bytes.to_vec();
    Work::task(move || Ok(hash::hash(&bytes).to_vec()))
}

/// BLAKE3-256 of `tag ‖ body` for every body: 32 bytes each, in order.
#[napi]
pub fn blake3_many<'env>(env: &'env Env, tag: u8, bodies: &[u8], lengths: &[u32]) -> Result<Uint8ArraySlice<'env>> {
    let digests = guarded(|| Ok(hash::hash_many(tag, &unpack(bodies, lengths)?)))?;
    copied(env, digests.as_flattened())
}

/// The root of the log of these entries.
#[napi]
pub fn merkle_root<'env>(env: &'env Env, entries: &[u8], lengths: &[u32]) -> Result<Uint8ArraySlice<'env>> {
    let root = guarded(|| Ok(merkle::root(&unpack(entries, lengths)?)))?;
    copied(env, &root)
}

/// The frontier after the entries were appended, and then every node that they completed, in order.
#[napi]
pub fn merkle_append<'env>(
    env: &'env Env,
    size: BigInt,
    frontier: &[u8],
    entries: &[u8],
    lengths: &[u32],
) -> Result<Uint8ArraySlice<'env>> {
    let hashes = guarded(|| {
        let (is_negative, size, is_lossless) = size.get_u64();
        if is_negative || !is_lossless {
            return Err(InputError::Frontier);
        }
        let appended = merkle::append(size, unpack_fixed(frontier)?, &unpack(entries, lengths)?)?;
        Ok([appended.frontier, appended.nodes].concat())
    })?;
    copied(env, hashes.as_flattened())
}

/// Whether the signature (64 bytes) is the key's (32 bytes) over the message, under ZIP215.
#[napi]
pub fn ed25519_verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool> {
    guarded(|| {
        let public_key = public_key.try_into().map_err(|_| InputError::Length)?;
        let signature = signature.try_into().map_err(|_| InputError::Length)?;
        Ok(ed25519::verify(&Claim { public_key, message, signature }))
    })
}

/// A byte for each signature, in order: 1 when it is the key's over the message, under ZIP215.
#[napi]
pub fn ed25519_verify_many_async(
    public_keys: &[u8],
    signatures: &[u8],
    messages: &[u8],
    lengths: &[u32],
) -> AsyncTask<Work<Vec<u8>>> {
    let (public_keys, signatures, messages) = (public_keys.to_vec(), signatures.to_vec(), messages.to_vec());
    let lengths = lengths.to_vec();
    Work::task(move || {
        let (public_keys, signatures) = (unpack_fixed::<32>(&public_keys)?, unpack_fixed::<64>(&signatures)?);
        let messages = unpack(&messages, &lengths)?;
        if public_keys.len() != messages.len() || signatures.len() != messages.len() {
            return Err(InputError::Length);
        }
        let claims: Vec<Claim<'_>> = public_keys
            .iter()
            .zip(signatures)
            .zip(&messages)
            .map(|((public_key, signature), message)| Claim { public_key, message, signature })
            .collect();
        Ok(ed25519::verify_many(&claims).into_iter().map(u8::from).collect())
    })
}

/// The ML-DSA-65 signing key of a seed (32 bytes), and then its public key.
#[napi]
pub fn ml_dsa_key_pair<'env>(env: &'env Env, seed: &[u8]) -> Result<Uint8ArraySlice<'env>> {
    let pair = guarded(|| Ok(ml_dsa::key_pair(seed.try_into().map_err(|_| InputError::Length)?)))?;
    copied(env, &pair)
}

/// The ML-DSA-65 signature with a signing key (4,032 bytes) over the message, with so much randomness (32 bytes).
#[napi]
pub fn ml_dsa_sign<'env>(env: &'env Env, signing_key: &[u8], message: &[u8], randomness: &[u8]) -> Result<Uint8ArraySlice<'env>> {
    let signature = guarded(|| {
        let signing_key = signing_key.try_into().map_err(|_| InputError::Length)?;
        ml_dsa::sign(signing_key, message, randomness.try_into().map_err(|_| InputError::Length)?)
    })?;
    copied(env, &signature)
}

/// Whether the ML-DSA-65 signature (3,309 bytes) is the key's (1,952 bytes) over the message.
#[napi]
pub fn ml_dsa_verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool> {
    guarded(|| {
        let public_key = public_key.try_into().map_err(|_| InputError::Length)?;
        let signature = signature.try_into().map_err(|_| InputError::Length)?;
        Ok(ml_dsa::verify(&ml_dsa::Claim { public_key, message, signature }))
    })
}

/// A byte for each ML-DSA-65 signature, in order: 1 when it is the key's over the message.
#[napi]
pub fn ml_dsa_verify_many_async(
    public_keys: &[u8],
    signatures: &[u8],
    messages: &[u8],
    lengths: &[u32],
) -> AsyncTask<Work<Vec<u8>>> {
    let (public_keys, signatures, messages) = (public_keys.to_vec(), signatures.to_vec(), messages.to_vec());
    let lengths = lengths.to_vec();
    Work::task(move || {
        let public_keys = unpack_fixed::<{ ml_dsa::PUBLIC_KEY_SIZE_BYTES }>(&public_keys)?;
        let signatures = unpack_fixed::<{ ml_dsa::SIGNATURE_SIZE_BYTES }>(&signatures)?;
        let messages = unpack(&messages, &lengths)?;
        if public_keys.len() != messages.len() || signatures.len() != messages.len() {
            return Err(InputError::Length);
        }
        let claims: Vec<ml_dsa::Claim<'_>> = public_keys
            .iter()
            .zip(signatures)
            .zip(&messages)
            .map(|((public_key, signature), message)| ml_dsa::Claim { public_key, message, signature })
            .collect();
        Ok(ml_dsa::verify_many(&claims).into_iter().map(u8::from).collect())
    })
}

/// Poseidon of groups of `count` numbers of four words each, least word first: four words a group, in order.
#[napi]
pub fn poseidon_many<'env>(env: &'env Env, count: u32, words: &[u64]) -> Result<BigUint64ArraySlice<'env>> {
    let digests = guarded(|| poseidon_of(count, words))?;
    BigUint64ArraySlice::copy_from(env, digests)
}

/// As `poseidon_many`, on the pool.
#[napi]
pub fn poseidon_many_async(count: u32, words: &[u64]) -> AsyncTask<Work<Vec<u64>>> {
    let words = words.to_vec();
    Work::task(move || poseidon_of(count, &words))
}

fn poseidon_of(count: u32, words: &[u64]) -> std::result::Result<Vec<u64>, InputError> {
    let (numbers, rest) = words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(InputError::Length);
    }
    Ok(poseidon::hash_many(count as usize, numbers)?.as_flattened().to_vec())
}

/// Panics, so that a test can see that Node goes on.
#[napi]
pub fn canary() -> Result<()> {
    guarded(|| panic!("the canary"))
}

/// As `canary`, on the pool.
#[napi]
pub fn canary_async() -> AsyncTask<Work<Vec<u8>>> {
    Work::task(|| panic!("the canary"))
}

fn copied<'env>(env: &'env Env, bytes: &[u8]) -> Result<Uint8ArraySlice<'env>> {
    Uint8ArraySlice::copy_from(env, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_a_wrong_input_are_errors() {
        let panicked = guarded(|| -> std::result::Result<(), InputError> { panic!("{}", 7) }).expect_err("an error");
        assert_eq!(panicked.reason, "native_panic: 7");
        let refused = guarded(|| Err::<(), _>(InputError::Length)).expect_err("an error");
        assert_eq!(refused.reason, "native_input: lengths do not fit the bytes");
        assert_eq!(guarded(|| Ok(1)).expect("a value"), 1);
    }
}
