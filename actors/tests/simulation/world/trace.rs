//! What happened, in order. Only a hash is kept, unless somebody wants to read it.

use super::mysql::Micros;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps a hash.
    pub(crate) fn hashed() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: None }
    }

    /// Keeps everything.
    pub(crate) fn full() -> Self {
        Self { lines: Some(Vec::new()), ..Self::hashed() }
    }

    pub(crate) fn note(&mut self, at: Micros, what: impl FnOnce() -> String) {
        let line = format!("{:>12.3} ms  {}", at as f64 / 1_000.0, what());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.events += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
