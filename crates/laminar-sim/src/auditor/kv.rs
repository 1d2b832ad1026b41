//! Invariant 4: what every block holds, row by row and layer by layer.

use crate::violation::{Broken, ensure};
use laminar_schedule::{BlockId, SchedulerConfig};
use std::ops::Range;

/// All KV memory. A cell is one row of one layer.
#[derive(Debug)]
pub(super) struct Kv {
    cells: Vec<u64>,
    /// Tables that hold each block.
    pub holders: Vec<u16>,
    /// Blocks that somebody holds.
    pub used: usize,
    layers: usize,
    block_len: usize,
}

const EMPTY: u64 = 0;
const RUBBISH: u64 = 1;

impl Kv {
    pub fn new(config: &SchedulerConfig) -> Self {
        let SchedulerConfig { layers, kv_blocks, block_len, .. } = *config;
        let cells = vec![EMPTY; layers * kv_blocks * block_len];
        Self { cells, holders: vec![0; kv_blocks], used: 0, layers, block_len }
    }

    /// A table holds these blocks from now on.
    pub fn hold(&mut self, blocks: &[BlockId]) -> Result<(), Broken> {
        for block in blocks {
            let Some(holders) = self.holders.get_mut(*block as usize) else {
                return Err(Broken(crate::Rule::Table, format!("block {block} does not exist")));
            };
            *holders += 1;
            self.used += usize::from(*holders == 1);
        }
        Ok(())
    }

    /// A table holds these blocks no longer.
    pub fn release(&mut self, blocks: &[BlockId]) {
        for block in blocks {
            if let Some(holders) = self.holders.get_mut(*block as usize) {
                *holders -= 1;
                self.used -= usize::from(*holders == 0);
            }
        }
    }

    /// A block is new in a table: nobody else has it, and what it held is worth nothing.
    pub fn take(&mut self, block: BlockId) -> Result<(), Broken> {
        let holders = self.holders[block as usize];
        ensure!(holders == 1, Cache, "block {block} is handed out but {} others hold it", holders - 1);
        let size = self.layers * self.block_len;
        self.cells[block as usize * size..][..size].fill(EMPTY);
        Ok(())
    }

    /// Rows of a sequence pass the attention of a layer.
    pub fn write(&mut self, table: &[BlockId], layer: usize, places: Range<usize>, rows: &[u64]) -> Result<(), Broken> {
        for place in places {
            let (cell, block) = self.cell(table, layer, place)?;
            let holders = self.holders[block as usize];
            ensure!(holders == 1, Cache, "row {place} is written to block {block}, which {} others hold", holders - 1);
            let before = self.cells[cell];
            ensure!(before == EMPTY, Walk, "row {place} of layer {layer} is written again, in block {block}");
            self.cells[cell] = rows[place];
        }
        Ok(())
    }

    /// Rows that were to pass the attention of a layer and did not.
    pub fn unwrite(&mut self, table: &[BlockId], layer: usize, places: Range<usize>) -> Result<(), Broken> {
        for place in places {
            let (cell, _) = self.cell(table, layer, place)?;
            self.cells[cell] = EMPTY;
        }
        Ok(())
    }

    /// Rows that went wrong.
    pub fn spoil(&mut self, table: &[BlockId], layer: usize, places: Range<usize>) -> Result<(), Broken> {
        for place in places {
            let (cell, _) = self.cell(table, layer, place)?;
            self.cells[cell] = RUBBISH;
        }
        Ok(())
    }

    /// The first rows of a sequence must be there in every layer.
    pub fn check(&self, table: &[BlockId], rows: &[u64]) -> Result<(), Broken> {
        for layer in 0..self.layers {
            for (place, row) in rows.iter().enumerate() {
                let (cell, block) = self.cell(table, layer, place)?;
                let what = match self.cells[cell] {
                    found if found == *row => continue,
                    EMPTY => "nothing",
                    RUBBISH => "what a failed step wrote",
                    _ => "a row of something else",
                };
                ensure!(false, Cache, "block {block} holds {what} for row {place} of layer {layer}");
            }
        }
        Ok(())
    }

    fn cell(&self, table: &[BlockId], layer: usize, place: usize) -> Result<(usize, BlockId), Broken> {
        let block = table.get(place / self.block_len).copied();
        let Some(block) = block else {
            return Err(Broken(crate::Rule::Table, format!("row {place} has no block")));
        };
        Ok(((block as usize * self.layers + layer) * self.block_len + place % self.block_len, block))
    }
}
