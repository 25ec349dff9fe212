//! Inflating: anything is inflated or refused within its limit and its budget, and what we compress comes back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_engine::Budget;
use millrace_net::Encoding;

const ENCODINGS: [Encoding; 7] = [
    Encoding::None,
    Encoding::Gzip,
    Encoding::Zstd,
    Encoding::Zlib,
    Encoding::Snappy,
    Encoding::SnappyFramed,
    Encoding::Lz4,
];

fuzz_target!(|data: &[u8]| {
    let [encoding, limits, body @ ..] = data else { return };
    let encoding = ENCODINGS[usize::from(*encoding) % ENCODINGS.len()];
    let limit = 1 << (limits % 21);
    let budget = Budget::new(if limits < &128 { 8 << 20 } else { 64 << 10 });

    if let Ok((inflated, charge)) = encoding.inflate(body, limit, &budget) {
        assert!(inflated.len() <= limit, "{} bytes of {limit}", inflated.len());
        assert!(charge.bytes() >= inflated.len() as u64, "what is kept is charged");
    }
    assert_eq!(budget.used(), 0, "what is not kept is released");

    let compressed = encoding.compress(body.chunks(11), body.len()).expect("compresses");
    let budget = Budget::new(8 << 20);
    let (inflated, _charge) = encoding.inflate(&compressed, body.len(), &budget).expect("inflates");
    assert_eq!(inflated, body);
});
