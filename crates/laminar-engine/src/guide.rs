//! Keeps one answer to its grammar, token by token.
//!
//! A token that was chosen leads to two things: the tokens that the grammar forces behind it, if there are any, and the mask
//! of the token after those. Where processors are left, both are computed on threads of their own, from the moment the token is
//! known, while the tokens of others are chosen and the next step is executed. Forced tokens need neither logits nor a draw.
//!
//! A greedy choice is the first of the tokens, in falling order, that the grammar allows, and asking for one token costs a
//! hundredth of asking for all, or less. As long as there are few to ask for, masks are not computed. A token that is drawn is
//! asked for likewise where masks allow many tokens and take long. A mask now and then is computed in any case, since the
//! parser's allowance for work is renewed by masks alone.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use crate::constraint::{Constraint, first_line};

/// Most threads that compute masks. A mask takes microseconds and a step milliseconds.
const MAX_THREADS: usize = 8;

/// Share of a vocabulary that is asked for token by token, at least [`FEWEST`] and at most [`MOST`]: about what a mask costs.
const SHARE: usize = 256;
const FEWEST: usize = 16;
const MOST: usize = 512;
/// Tokens that are looked at for each that may be asked for, and at most: those that begin like one that was refused are not
/// asked for.
const LOOKS: usize = 16;
const MOST_LOOKS: usize = 2048;

/// A mask allows many if it allows one in so many tokens, and has taken long if it has gone through the tree of tokens for one
/// in so many.
const WIDE: usize = 8;
const LONG: usize = 2;
/// Masks that do not, one after the other, before the next one is expected not to.
const DEAR: u8 = 2;

/// Tokens without a mask at first, and at most.
const FIRST_UNMASKED: usize = 8;
const MOST_UNMASKED: usize = 64;
/// Work on the way from one mask to the next with which the next way may be longer: a tenth of the parser's allowance.
const LITTLE_WORK: u64 = 20_000;

/// The parser of one answer.
pub(crate) struct Guide {
    state: State,
    /// Tokens that the grammar forces next, in their order.
    forced: VecDeque<u32>,
    /// Whether the answer is complete behind them.
    ends: bool,
    /// Whether tokens that end the text may come where the answer is complete and nowhere else.
    ends_when_complete: bool,
    /// Whether tokens of the same beginning are refused together.
    by_bytes: bool,
    /// Most tokens to ask for one by one, and to look at.
    asks: usize,
    looks: usize,
    /// Masks for which it is believed that they allow many tokens and take long: those that follow one that did.
    dear: u8,
    /// Tokens since the newest mask, and after how many there is one in any case.
    unmasked: usize,
    most_unmasked: usize,
}

enum State {
    /// The mask of the token behind the forced ones is known.
    Ready(Box<Matcher>, SimpleVob),
    /// It may not be needed.
    Open(Box<Matcher>),
    /// It is being computed.
    Pending(Receiver<Told>),
    /// No such token comes, or the parser has failed.
    Over,
}

/// What a grammar wants at the beginning of an answer.
#[derive(Clone)]
pub(crate) struct Ahead {
    /// Tokens that are the only ones possible, in their order.
    pub forced: Vec<u32>,
    /// What may come behind them; none where the answer is complete.
    mask: Option<SimpleVob>,
}

/// What a job tells, the one after the other.
enum Told {
    /// The tokens that are forced, and whether the answer is complete behind them; then nothing else is told.
    Forced(Vec<u32>, bool),
    /// What may come behind them.
    Mask(Box<Matcher>, SimpleVob),
    Failed(String),
}

/// Which token may come next.
pub(crate) enum Next<'a> {
    /// This one alone.
    Forced(u32),
    /// One of these.
    Among(&'a SimpleVob),
    /// Ask [`Guide::first_allowed`], and if it knows none, [`Guide::compute`].
    Open,
}

/// What a choice by a mask says of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// It takes a mask.
    Mask,
    /// So many tokens were more probable than the one that was chosen: they would have to be asked for in vain. The next one may
    /// well be near it.
    Place(usize),
    /// Tokens are drawn from all until one is allowed.
    Drawn,
}

/// What a token has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// More may come.
    Open,
    /// The answer is complete; nothing may follow.
    Complete,
}

impl Ahead {
    /// Takes a parser past the tokens that it forces and computes the mask behind them.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn of(matcher: &mut Matcher) -> Result<Self, String> {
        let forced = force(matcher)?;
        let mask = (!matcher.is_stopped()).then(|| mask(matcher)).transpose()?;
        Ok(Self { forced, mask })
    }
}

/// Takes a parser past the tokens that it forces, until it forces none: then a mask allows what is allowed token by token.
fn force(matcher: &mut Matcher) -> Result<Vec<u32>, String> {
    let mut forced = Vec::new();
    while !matcher.is_stopped() {
        let more = matcher.compute_ff_tokens();
        if more.is_empty() {
            break;
        }
        matcher.consume_tokens(&more).map_err(|error| first_line(&error.to_string()))?;
        forced.extend(more);
    }
    Ok(forced)
}

fn mask(matcher: &mut Matcher) -> Result<SimpleVob, String> {
    matcher.compute_mask().map_err(|error| first_line(&error.to_string()))
}

impl Guide {
    /// A parser at the beginning of an answer.
    pub fn new(constraint: &Constraint) -> Self {
        let (matcher, Ahead { forced, mask }) = constraint.begin();
        let vocab = matcher.tok_env().map_or(0, |env| env.tok_trie().vocab_size());
        let asks = (vocab / SHARE).clamp(FEWEST, MOST);
        let ends = mask.is_none();
        let state = mask.map_or(State::Over, |mask| State::Ready(Box::new(matcher), mask));
        Self {
            state,
            forced: forced.into(),
            ends,
            ends_when_complete: constraint.ends_when_complete(),
            by_bytes: constraint.is_of_bytes(),
            asks,
            looks: (asks * LOOKS).min(MOST_LOOKS),
            dear: 0,
            unmasked: 0,
            most_unmasked: FIRST_UNMASKED,
        }
    }

    /// What may come next; computed here, or waited for, if it is not known yet.
    ///
    /// # Errors
    /// The parser has reached one of its limits, or nothing may come any more.
    pub fn next(&mut self, masks: &MaskThreads) -> Result<Next<'_>, String> {
        while self.forced.is_empty()
            && let State::Pending(told) = &self.state
        {
            let told = masks.wait(told);
            self.hear(told)?;
        }
        match (self.forced.front(), &self.state) {
            (Some(id), _) => Ok(Next::Forced(*id)),
            (None, State::Ready(_, mask)) => Ok(Next::Among(mask)),
            (None, State::Open(_)) => Ok(Next::Open),
            _ => Err("the grammar allows no further token".to_owned()),
        }
    }

    /// The first of these tokens that may come next, where no mask is known; none where that would take longer than a mask.
    pub fn first_allowed(&mut self, tokens: impl Iterator<Item = u32>) -> Option<u32> {
        let State::Open(matcher) = &mut self.state else {
            return None;
        };
        let env = matcher.tok_env().ok()?;
        let trie = env.tok_trie();
        let ends = trie.eos_tokens();
        // Whether tokens that begin with a byte are refused for it, as far as that is known.
        let mut refused = [None; 256];
        let mut asked = 0;
        for id in tokens.take(self.looks) {
            if ends.contains(&id) {
                if matcher.is_accepting().ok()? {
                    return Some(id);
                } else if !self.ends_when_complete {
                    return None;
                }
                continue;
            }
            let Some(first) = trie.token(id).first() else {
                continue;
            };
            let first = self.by_bytes.then_some(usize::from(*first));
            if first.is_some_and(|byte| refused[byte] == Some(true)) {
                continue;
            }
            if asked >= self.asks {
                return None;
            }
            asked += 1;
            if matcher.validate_tokens(&[id]).ok()? == 1 {
                return Some(id);
            }
            if let Some(byte) = first.filter(|byte| refused[*byte].is_none()) {
                let alone = trie.token_id(&[byte as u8]);
                refused[byte] = match alone {
                    Some(alone) if alone != id => Some(matcher.validate_tokens(&[alone]).ok()? == 0),
                    alone => Some(alone.is_some()),
                };
            }
        }
        None
    }

    /// Whether no mask is known.
    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Leaves it to be found out what may come next.
    #[cfg(test)]
    pub fn forget_mask(&mut self) {
        if let State::Ready(matcher, _) = std::mem::replace(&mut self.state, State::Over) {
            self.state = State::Open(matcher);
        }
    }

    /// Computes the mask that was not asked for.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn compute(&mut self) -> Result<(), String> {
        if let State::Open(mut matcher) = std::mem::replace(&mut self.state, State::Over) {
            // One that is remembered would not renew the allowance for work.
            matcher.invalidate_bias_cache();
            let mask = mask(&mut matcher)?;
            self.is_masked(matcher, mask);
        }
        Ok(())
    }

    /// A mask has come, and the work between two masks has shown itself.
    fn is_masked(&mut self, matcher: Box<Matcher>, mask: SimpleVob) {
        let stats = matcher.last_step_stats();
        let work = stats.as_ref().map_or(u64::MAX, |stats| stats.lexer_cost);
        let walked = stats.map_or(0, |stats| stats.trie_nodes_walked);
        let is_dear = walked * LONG >= mask.len() && mask.num_set() * WIDE >= mask.len();
        self.dear = if is_dear { DEAR } else { self.dear.saturating_sub(1) };
        self.most_unmasked = match work <= LITTLE_WORK {
            true => (self.most_unmasked * 2).min(MOST_UNMASKED),
            false => (self.most_unmasked / 2).max(1),
        };
        self.unmasked = 0;
        self.state = State::Ready(matcher, mask);
    }

    /// The token that must come next, if there is but one and that is known already.
    pub fn forced(&mut self) -> Option<u32> {
        if self.forced.is_empty()
            && let State::Pending(told) = &self.state
            && let Ok(told) = told.try_recv()
        {
            // An error shows itself when the next token is to be chosen.
            let _ = self.hear(told);
        }
        self.forced.front().copied()
    }

    fn hear(&mut self, told: Told) -> Result<(), String> {
        match told {
            Told::Forced(forced, ends) => {
                self.forced.extend(forced);
                self.ends = ends;
            }
            Told::Mask(matcher, mask) => self.is_masked(matcher, mask),
            Told::Failed(error) => {
                self.state = State::Over;
                return Err(error);
            }
        }
        Ok(())
    }

    fn wants_mask(&self, hint: Hint) -> bool {
        match hint {
            Hint::Mask => true,
            Hint::Place(place) => place >= self.looks,
            Hint::Drawn => self.dear == 0,
        }
    }

    /// Takes the token chosen, or the one forced, and has found out what comes next.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn accept(&mut self, id: u32, hint: Hint, masks: &MaskThreads) -> Result<Advance, String> {
        if let Some(forced) = self.forced.pop_front() {
            if forced != id {
                return Err("another token came than the one forced".to_owned());
            }
            return Ok(if self.ends && self.forced.is_empty() { Advance::Complete } else { Advance::Open });
        }
        let (State::Ready(mut matcher, _) | State::Open(mut matcher)) = std::mem::replace(&mut self.state, State::Over)
        else {
            return Err("a token came before its mask".to_owned());
        };
        matcher.consume_token(id).map_err(|error| first_line(&error.to_string()))?;
        if matcher.is_stopped() {
            return Ok(Advance::Complete);
        }
        if self.wants_mask(hint) || self.unmasked >= self.most_unmasked {
            if self.unmasked > 0 {
                // One that is remembered would not renew the allowance for work.
                matcher.invalidate_bias_cache();
            }
            self.state = State::Pending(masks.compute(matcher));
            return Ok(Advance::Open);
        }
        // What is forced is found at once: it takes less than telling it to another thread.
        self.unmasked += 1;
        self.forced.extend(force(&mut matcher)?);
        self.ends = matcher.is_stopped();
        self.state = if self.ends { State::Over } else { State::Open(matcher) };
        Ok(Advance::Open)
    }
}

/// A parser behind the token chosen, and who waits for what it finds.
struct Job {
    matcher: Box<Matcher>,
    reply: Sender<Told>,
}

/// The threads that compute masks. They start with the first job and end with this handle.
#[derive(Default)]
pub(crate) struct MaskThreads {
    queue: Option<Arc<Queue>>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    more: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does jobs until the queue is closed.
    fn work(&self) {
        let mut jobs = self.lock();
        while !jobs.closed {
            let Some(job) = jobs.waiting.pop_front() else {
                jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(jobs);
            run(job);
            jobs = self.lock();
        }
    }
}

impl MaskThreads {
    /// Starts the threads, as many as there are processors beside those of the `busy` threads that execute steps. Where there
    /// is none, whoever chooses a token goes on to what comes behind it: threads that take turns with those of a step would hold
    /// it up.
    pub fn start(&mut self, busy: usize) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let spare = processors.saturating_sub(busy).min(MAX_THREADS);
        if self.queue.is_some() || spare == 0 {
            return;
        }
        let queue = Arc::new(Queue::default());
        for _ in 0..spare {
            let queue = Arc::clone(&queue);
            // One that does not start is not missed: the engine thread works as well.
            let _ = std::thread::Builder::new().name("laminar-masks".into()).spawn(move || queue.work());
        }
        self.queue = Some(queue);
    }

    fn compute(&self, matcher: Box<Matcher>) -> Receiver<Told> {
        let (reply, told) = channel();
        let job = Job { matcher, reply };
        match &self.queue {
            Some(queue) => {
                queue.lock().waiting.push_back(job);
                queue.more.notify_one();
            }
            None => run(job),
        }
        told
    }

    /// What a job tells next. Jobs that no thread has begun are done here meanwhile.
    fn wait(&self, told: &Receiver<Told>) -> Told {
        loop {
            match told.try_recv() {
                Ok(told) => return told,
                Err(TryRecvError::Empty) => {}
                Err(error @ TryRecvError::Disconnected) => return Told::Failed(error.to_string()),
            }
            let job = self.queue.as_ref().and_then(|queue| queue.lock().waiting.pop_front());
            match job {
                Some(job) => run(job),
                None => return told.recv().unwrap_or_else(|error| Told::Failed(error.to_string())),
            }
        }
    }
}

impl Drop for MaskThreads {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.lock().closed = true;
            queue.more.notify_all();
        }
    }
}

/// Finds out what comes next. Whoever asked may have gone meanwhile.
fn run(job: Job) {
    let Job { mut matcher, reply } = job;
    let told = force(&mut matcher).and_then(|forced| {
        let ends = matcher.is_stopped();
        let _ = reply.send(Told::Forced(forced, ends));
        if ends {
            return Ok(None);
        }
        let mask = mask(&mut matcher)?;
        Ok(Some(Told::Mask(matcher, mask)))
    });
    let _ = match told {
        Ok(None) => return,
        Ok(Some(told)) => reply.send(told),
        Err(error) => reply.send(Told::Failed(error)),
    };
}
