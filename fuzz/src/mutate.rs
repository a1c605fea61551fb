//! Changes to inputs, from a seed.

/// SplitMix64: the same seed gives the same run everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }
}

/// Longest input that mutation makes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Numbers at which lengths and counters go wrong.
const EDGES: [u32; 12] = [0, 1, 3, 4, 5, 0x7f, 0xff, 0x7fff, 0xffff, 0x00ff_ffff, 0x7fff_ffff, 0xffff_ffff];
/// Bytes that mean something to the formats here.
const TOKENS: [&[u8]; 14] =
    [b"\"", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"null", b"\\u", b"\\ud83d", b"-", b"\xff", b"1e999"];

/// Applies one to eight changes; `other` is cut in at times.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.insert(at, random.next() as u8),
            3 => {
                let end = (at + random.below(16)).min(input.len());
                input.drain(at..end);
            }
            4 => {
                let end = (at + random.below(64)).min(input.len());
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            5 => {
                let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
                let width = [1, 2, 4][random.below(3)];
                let end = (at + width).min(input.len());
                input.splice(at..end, edge[4 - width..].iter().copied());
            }
            6 => {
                let token = TOKENS[random.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
            7 => {
                let from = random.below(other.len() + 1);
                let end = (from + random.below(128)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
            8 if random.below(8) == 0 => input.truncate(at),
            _ => {}
        }
    }
    input.truncate(MAX_BYTES);
}
