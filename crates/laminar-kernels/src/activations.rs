//! Activations.
use crate::Pool;
/// A batch of input rows.
#[derive(Default)]
pub struct Activations {
    rows: usize,
    cols: usize,
}
impl Activations {
    /// An empty batch.
    pub fn new() -> Activations {
        Activations::default()
    }
    /// Loads rows.
    pub fn load(&mut self, _pool: &Pool, x: &[f32], cols: usize) {
        self.rows = x.len() / cols;
        self.cols = cols;
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Cols.
    pub fn cols(&self) -> usize {
        self.cols
    }
}
