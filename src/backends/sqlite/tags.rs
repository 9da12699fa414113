//! Enqueue: the random half of each outside id.

use crate::error::Error;

/// The 64-bit tags of ids, from the operating system's generator, fetched in blocks.
pub(super) struct Tags {
    block: [u8; 1024],
    used: usize,
}

impl Default for Tags {
    fn default() -> Self {
        Self { block: [0; 1024], used: 1024 }
    }
}

impl Tags {
    pub(super) fn next(&mut self) -> Result<i64, Error> {
        if self.used + 8 > self.block.len() {
            getrandom::fill(&mut self.block).map_err(|error| Error::NotStored {
                reason: format!("the system gives no random numbers: {error}"),
                source: None,
            })?;
            self.used = 0;
        }
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        Ok(i64::from_ne_bytes(tag))
    }
}
