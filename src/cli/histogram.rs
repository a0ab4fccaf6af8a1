//! How many things there are of each size.

use super::output::Output;

/// Sizes at which the rows begin.
const FROM: [u64; 8] = [0, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Where the last row ends.
const END: u64 = 100_000_000;

#[derive(Default)]
pub(super) struct Histogram {
    rows: [(u64, u64); FROM.len()],
    larger: (u64, u64),
}

impl Histogram {
    pub(super) fn add(&mut self, size: u64) {
        let row = FROM.iter().rposition(|from| *from <= size).filter(|_| size < END);
        let (count, total) = row.and_then(|row| self.rows.get_mut(row)).unwrap_or(&mut self.larger);
        *count += 1;
        *total = total.saturating_add(size);
    }

    pub(super) fn print(&self, out: &mut Output, size: impl Fn(u64) -> String) -> anyhow::Result<()> {
        out.line("Histogram:\n")?;
        let ends = FROM.iter().skip(1).chain([&END]);
        for ((from, to), (count, total)) in FROM.iter().zip(ends).zip(self.rows) {
            out.line(format!("{count:>9} between {} and {} (total {})", size(*from), size(*to), size(total)))?;
        }
        if let (count @ 1.., total) = self.larger {
            out.line(format!("{count:>9} of {} or more (total {})", size(END), size(total)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let mut histogram = Histogram::default();
        for size in [0, 9, 10, 99, 99_999_999, 100_000_000, u64::MAX] {
            histogram.add(size);
        }
        assert_eq!(histogram.rows.map(|(count, _)| count), [2, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.rows[1].1, 109);
        assert_eq!(histogram.larger, (2, u64::MAX));
    }
}
