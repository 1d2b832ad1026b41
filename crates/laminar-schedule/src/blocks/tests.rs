//! Blocks and the prefix cache over them, one statement a test. A block has two positions here.

use super::*;
use std::sync::Arc;

const BLOCK_LEN: usize = 2;

/// A prompt's table, computed and published, with what it found.
struct Prompt {
    chain: Chain,
    table: BlockTable,
    hit: usize,
}

fn admit_salted(pool: &mut BlockPool, tokens: &[u32], salt: u64) -> Option<Prompt> {
    let mut chain = pool.chain(Prefix { tokens: Arc::from(tokens), salt, ..Prefix::default() }, tokens.len());
    let hit = pool.find(&chain, tokens.len());
    chain.published = hit.len();
    let table = pool.allocate(tokens.len().div_ceil(BLOCK_LEN), &hit)?;
    Some(Prompt { chain, table, hit: hit.len() })
}

fn admit(pool: &mut BlockPool, tokens: &[u32]) -> Option<Prompt> {
    admit_salted(pool, tokens, 0)
}

fn publish(pool: &mut BlockPool, prompt: &mut Prompt) {
    pool.publish(&mut prompt.chain, &prompt.table, prompt.table.ids().len() * BLOCK_LEN);
}

/// Admits, publishes and ends a prompt; returns the blocks it found.
fn pass(pool: &mut BlockPool, tokens: &[u32]) -> usize {
    let mut prompt = admit(pool, tokens).unwrap();
    publish(pool, &mut prompt);
    pool.release(prompt.table);
    prompt.hit
}

#[test]
fn a_pool_gives_what_it_has_and_takes_it_back() {
    let mut pool = BlockPool::new(4, BLOCK_LEN);
    let first = pool.allocate(3, &[]).unwrap();
    assert_eq!(first.ids(), [0, 1, 2]);
    assert!(pool.allocate(2, &[]).is_none());
    assert_eq!(pool.used(), 3);
    let second = pool.allocate(1, &[]).unwrap();
    assert_eq!(second.ids(), [3]);
    pool.release(first);
    pool.release(second);
    assert_eq!((pool.used(), pool.cached(), pool.total()), (0, 0, 4));
}

#[test]
fn a_hit_shares_blocks_and_each_user_counts() {
    let mut pool = BlockPool::new(8, BLOCK_LEN);
    let mut first = admit(&mut pool, &[1, 2, 3, 4, 5]).unwrap();
    assert_eq!(admit(&mut pool, &[1, 2, 3]).map(|prompt| pool.release(prompt.table)), Some(()));
    publish(&mut pool, &mut first);
    let second = admit(&mut pool, &[1, 2, 3, 4, 6, 7]).unwrap();
    assert_eq!((second.hit, &second.table.ids()[..2]), (2, &first.table.ids()[..2]));
    assert_eq!(pool.used(), 4);
    pool.release(first.table);
    assert_eq!((pool.used(), pool.cached()), (3, 0), "the second still uses what it found");
    pool.release(second.table);
    assert_eq!((pool.used(), pool.cached()), (0, 2));
}

#[test]
fn nothing_is_found_before_it_is_published() {
    let mut pool = BlockPool::new(8, BLOCK_LEN);
    let first = admit(&mut pool, &[1, 2, 3]).unwrap();
    let second = admit(&mut pool, &[1, 2, 3]).unwrap();
    assert_eq!(second.hit, 0);
    pool.release(first.table);
    pool.release(second.table);
    assert_eq!(pool.cached(), 0, "unpublished blocks are free at once");
}

#[test]
fn the_first_of_two_equal_blocks_stays() {
    let mut pool = BlockPool::new(8, BLOCK_LEN);
    let mut first = admit(&mut pool, &[1, 2, 3, 4]).unwrap();
    let mut second = admit(&mut pool, &[1, 2, 3, 4, 5, 6]).unwrap();
    publish(&mut pool, &mut first);
    publish(&mut pool, &mut second);
    assert!(second.chain.closed && second.chain.published == 0);
    let third = admit(&mut pool, &[1, 2, 3, 4, 5, 6, 7]).unwrap();
    assert_eq!(third.table.ids()[..2], first.table.ids()[..2]);
    for prompt in [first, second, third] {
        pool.release(prompt.table);
    }
    assert_eq!((pool.used(), pool.cached()), (0, 2));
}

#[test]
fn the_chain_that_was_left_first_goes_first_and_its_end_before_its_beginning() {
    let mut pool = BlockPool::new(6, BLOCK_LEN);
    pass(&mut pool, &[1, 1, 1, 1]);
    pass(&mut pool, &[2, 2, 2, 2]);
    assert_eq!(pass(&mut pool, &[1, 1, 9]), 1, "the first chain's beginning is used again");
    assert_eq!(pool.cached(), 4);
    // Two free blocks and one of the cache: the end of the first chain, which was left first of all.
    let table = pool.allocate(3, &[]).unwrap();
    pool.release(table);
    assert_eq!(pass(&mut pool, &[1, 1, 1, 1, 1]), 1);
    let mut pool = BlockPool::new(4, BLOCK_LEN);
    pass(&mut pool, &[1, 1, 1, 1]);
    pass(&mut pool, &[2, 2, 2, 2]);
    let table = pool.allocate(1, &[]).unwrap();
    assert_eq!((pool.used(), pool.cached()), (1, 3));
    pool.release(table);
    let second = admit(&mut pool, &[2, 2, 2, 2, 3]).unwrap();
    assert_eq!(second.hit, 2, "the later chain is whole");
    pool.release(second.table);
}

#[test]
fn a_chain_that_has_lost_its_end_can_be_used_and_left_again() {
    let mut pool = BlockPool::new(7, BLOCK_LEN);
    pass(&mut pool, &[1; 6]);
    pass(&mut pool, &[2; 6]);
    // One free block and the end of the first chain.
    let table = pool.allocate(2, &[]).unwrap();
    pool.release(table);
    assert_eq!(pass(&mut pool, &[1; 5]), 2);
    // The second chain was left before that.
    let table = pool.allocate(5, &[]).unwrap();
    pool.release(table);
    assert_eq!((pool.cached(), pass(&mut pool, &[2; 2]), pass(&mut pool, &[1; 5])), (2, 0, 2));
}

#[test]
fn blocks_in_use_are_never_evicted() {
    let mut pool = BlockPool::new(4, BLOCK_LEN);
    let mut first = admit(&mut pool, &[1, 1, 1, 1]).unwrap();
    publish(&mut pool, &mut first);
    pass(&mut pool, &[2, 2]);
    assert!(pool.allocate(3, &[]).is_none());
    let other = pool.allocate(2, &[]).unwrap();
    assert!(other.ids().iter().all(|block| !first.table.ids().contains(block)));
    assert!(pool.allocate(1, &[]).is_none());
}

#[test]
fn a_hit_on_unused_blocks_is_not_counted_twice() {
    let mut pool = BlockPool::new(3, BLOCK_LEN);
    pass(&mut pool, &[1, 1, 1, 1]);
    let keep = pool.allocate(1, &[]).unwrap();
    // Both cached blocks would be found, and nothing is left for the third.
    let chain = pool.chain(Prefix { tokens: Arc::from([1; 5]), ..Prefix::default() }, 5);
    let hit = pool.find(&chain, 5);
    assert!(pool.fits(2, &hit) && !pool.fits(3, &hit));
    assert!(admit(&mut pool, &[1, 1, 1, 1, 1]).is_none());
    pool.release(keep);
    assert_eq!(admit(&mut pool, &[1, 1, 1, 1, 1]).unwrap().hit, 2);
}

#[test]
fn prompts_of_equal_hash_never_share() {
    for hash in [(|_, _| 7) as KeyHash, |_, tokens| u64::from(tokens[0])] {
        let mut pool = BlockPool::with_hash(16, BLOCK_LEN, hash);
        assert_eq!(pass(&mut pool, &[1, 2, 3, 4, 5]), 0);
        assert_eq!(pass(&mut pool, &[1, 3, 3, 4, 5]), 0, "other tokens in the first block");
        assert_eq!(pass(&mut pool, &[3, 4, 3, 4, 5]), 0, "a block that is cached as a second one is no first one");
        let salted = admit_salted(&mut pool, &[1, 2, 3, 4, 5], 1).unwrap();
        assert_eq!(salted.hit, 0, "the salt is compared too");
        assert!(pass(&mut pool, &[1, 2, 3, 4, 5]) >= 1, "the first one is found");
    }
}

#[test]
fn salts_do_not_share() {
    let mut pool = BlockPool::new(16, BLOCK_LEN);
    pass(&mut pool, &[1, 2, 3]);
    assert_eq!(admit_salted(&mut pool, &[1, 2, 3], 1).unwrap().hit, 0);
    assert_eq!(admit(&mut pool, &[1, 2, 3]).unwrap().hit, 1);
}

#[test]
fn a_long_table_leaves_the_blocks_that_come_next_to_those_that_grow() {
    let mut pool = BlockPool::new(300, BLOCK_LEN);
    let mut stream = pool.allocate(3, &[]).unwrap();
    let prompt = pool.allocate(LEFT_TO_GROW + 1, &[]).unwrap();
    for _ in 0..LEFT_TO_GROW {
        assert!(pool.extend(&mut stream));
    }
    let ids: Vec<BlockId> = (0..300).collect();
    let (own, behind) = ids.split_at(3 + LEFT_TO_GROW);
    assert_eq!((stream.ids(), prompt.ids()), (own, &behind[..LEFT_TO_GROW + 1]));
    // Where there are no others it gets them all.
    assert!(pool.extend(&mut stream));
    let last = pool.allocate(300 - pool.used(), &[]).unwrap();
    assert_eq!((pool.used(), pool.allocate(1, &[]).is_none()), (300, true));
    for table in [stream, prompt, last] {
        pool.release(table);
    }
    assert_eq!((pool.used(), pool.fits(300, &[])), (0, true));
}
