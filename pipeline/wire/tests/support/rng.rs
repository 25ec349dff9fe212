//! A small seeded generator (SplitMix64): fast in debug builds, the same on every platform.

/// A stream of random choices that is a function of its seed.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// An integer of any magnitude: small ones and the extremes are as likely as the rest.
    pub fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => self.below(128) as u64,
            _ => {
                let bits = self.below(64);
                self.next() >> bits
            }
        }
    }

    /// A double of any magnitude, never NaN.
    pub fn double(&mut self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1 => f64::INFINITY,
            2 => -1.5,
            3 => f64::MIN_POSITIVE / 2.0,
            4 => self.below(1000) as f64,
            _ => {
                let any = f64::from_bits(self.next());
                if any.is_nan() { 12.25 } else { any }
            }
        }
    }

    /// Valid UTF-8: empty, short, longer than a one-byte length, ASCII or not.
    pub fn text(&mut self) -> String {
        const WORDS: &[&str] = &[
            "GET",
            "/api/v1/users",
            "checkout",
            "größe",
            "日本語",
            "a",
            "🚀",
            "\u{0}",
            "user@example.com",
            " ",
        ];
        match self.below(10) {
            0 => String::new(),
            1 => "x".repeat(100 + self.below(200)),
            2 => "é".repeat(self.below(150)),
            _ => (0..=self.below(3)).map(|_| *self.pick(WORDS)).collect(),
        }
    }

    /// An attribute key: mostly from a small set, so that lookups hit.
    pub fn key(&mut self) -> String {
        const KEYS: &[&str] = &[
            "service.name",
            "http.request.method",
            "user.email",
            "user.id",
            "k",
            "db.statement",
            "ключ",
            "http.response.status_code",
            "",
        ];
        if self.one_in(8) { self.text() } else { (*self.pick(KEYS)).to_owned() }
    }

    /// A trace or span id: mostly `len` random bytes, sometimes none, sometimes all zero.
    pub fn id(&mut self, len: usize) -> Vec<u8> {
        match self.below(8) {
            0 => Vec::new(),
            1 => vec![0; len],
            _ => self.bytes(len),
        }
    }
}
