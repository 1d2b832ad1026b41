//! Keeps one answer to its grammar, token by token.
//!
//! A token that was chosen leads to two things: the tokens that the grammar forces behind it, if there are any, and the mask
//! of the token after those. Where processors are left, both are computed on threads of their own, from the moment the token is
//! known, while the tokens of others are chosen and the next step is executed. Forced tokens need neither logits nor a draw.
//!
//! A greedy choice is the first of the tokens, in falling order, that the grammar allows, and asking for one token costs a
//! hundredth of asking for all, or less. As long as there are few to ask for, masks are not computed. A token that is drawn is
//! asked for likewise where masks allow many tokens and take long. The parser's allowance for work, which masks renew, is then
//! renewed now and then without one.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use llguidance::toktrie::SimpleVob;

use crate::constraint::Constraint;
use crate::parser::{Parser, Questions};
use crate::sampler::allows;

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
const DEAR: u8 = 6;

/// Tokens on one allowance for work, at most. At first it is one.
const MOST_UNRENEWED: usize = 64;
/// Work on an allowance with which the next one may be for more tokens: a tenth of it.
const LITTLE_WORK: u64 = 20_000;

/// The parser of one answer.
pub(crate) struct Guide {
    constraint: Constraint,
    state: State,
    /// Tokens that the grammar forces next, in their order.
    forced: VecDeque<u32>,
    /// Whether the answer is complete behind them.
    ends: bool,
    /// Most tokens to look at, and how those are asked for that are worth it.
    looks: usize,
    questions: Questions,
    /// Masks for which it is believed that they allow many tokens and take long: those that follow one that did.
    dear: u8,
    /// Tokens since the parser's allowance for work was renewed, and after how many it is renewed.
    unrenewed: usize,
    most_unrenewed: usize,
}

enum State {
    /// The mask of the token behind the forced ones is known.
    Ready(Box<Parser>, SimpleVob),
    /// It may not be needed.
    Open(Box<Parser>),
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
    Mask(Box<Parser>, SimpleVob),
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
    pub fn of(parser: &mut Parser) -> Result<Self, String> {
        let forced = parser.force()?;
        let mask = (!parser.is_stopped()).then(|| parser.mask()).transpose()?;
        Ok(Self { forced, mask })
    }
}

impl Guide {
    /// A parser at the beginning of an answer.
    pub fn new(constraint: &Constraint) -> Self {
        let (parser, Ahead { forced, mask }) = constraint.begin();
        let asks = (parser.vocab_size() / SHARE).clamp(FEWEST, MOST);
        let ends = mask.is_none();
        let state = mask.map_or(State::Over, |mask| State::Ready(Box::new(parser), mask));
        Self {
            constraint: constraint.clone(),
            state,
            forced: forced.into(),
            ends,
            looks: (asks * LOOKS).min(MOST_LOOKS),
            questions: Questions {
                asks,
                by_bytes: constraint.is_of_bytes(),
                ends_when_complete: constraint.ends_when_complete(),
            },
            dear: 0,
            unrenewed: 0,
            most_unrenewed: 1,
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

    /// The first of these tokens that may come next, where no mask is known; none where it would take more than `worth`
    /// questions or longer than a mask.
    pub fn first_allowed(&mut self, tokens: impl Iterator<Item = u32>, worth: usize) -> Option<u32> {
        let State::Open(parser) = &mut self.state else {
            return None;
        };
        let possible = self.constraint.possible();
        let tokens = tokens.take(self.looks).filter(|id| possible.is_none_or(|possible| allows(possible, *id)));
        let asks = self.questions.asks.min(worth);
        parser.first_allowed(tokens, Questions { asks, ..self.questions })
    }

    /// Tokens that answers may have, if all others are known to be refused everywhere.
    pub fn possible(&self) -> Option<&SimpleVob> {
        self.constraint.possible()
    }

    /// Whether no mask is known.
    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Leaves it to be found out what may come next.
    #[cfg(test)]
    pub fn forget_mask(&mut self) {
        if let State::Ready(parser, _) = std::mem::replace(&mut self.state, State::Over) {
            self.state = State::Open(parser);
        }
    }

    /// Computes the mask that was not asked for.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn compute(&mut self) -> Result<(), String> {
        if let State::Open(mut parser) = std::mem::replace(&mut self.state, State::Over) {
            parser.forget_mask();
            let mask = parser.mask()?;
            self.is_masked(parser, mask);
        }
        Ok(())
    }

    /// A mask has come, and the work since the one before has shown itself.
    fn is_masked(&mut self, parser: Box<Parser>, mask: SimpleVob) {
        let is_dear = parser.walked() * LONG >= mask.len() && mask.num_set() * WIDE >= mask.len();
        self.dear = if is_dear { DEAR } else { self.dear.saturating_sub(1) };
        self.is_renewed(parser.work_of_mask());
        self.state = State::Ready(parser, mask);
    }

    /// The allowance for work has been renewed after so much of it.
    fn is_renewed(&mut self, work: u64) {
        self.most_unrenewed = match work <= LITTLE_WORK {
            true => (self.most_unrenewed * 2).min(MOST_UNRENEWED),
            false => (self.most_unrenewed / 2).max(1),
        };
        self.unrenewed = 0;
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
            Told::Mask(parser, mask) => self.is_masked(parser, mask),
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
        let (State::Ready(mut parser, _) | State::Open(mut parser)) = std::mem::replace(&mut self.state, State::Over)
        else {
            return Err("a token came before its mask".to_owned());
        };
        parser.consume(id)?;
        if parser.is_stopped() {
            return Ok(Advance::Complete);
        }
        if self.wants_mask(hint) {
            if self.unrenewed > 0 {
                parser.forget_mask();
            }
            self.state = State::Pending(masks.compute(parser));
            return Ok(Advance::Open);
        }
        self.unrenewed += 1;
        if self.unrenewed >= self.most_unrenewed {
            self.is_renewed(parser.renew()?);
        }
        // What is forced is found at once: it takes less than telling it to another thread.
        if !parser.has_choice()? {
            self.forced.extend(parser.force()?);
        }
        self.ends = parser.is_stopped();
        self.state = if self.ends { State::Over } else { State::Open(parser) };
        Ok(Advance::Open)
    }
}

/// A parser behind the token chosen, and who waits for what it finds.
struct Job {
    parser: Box<Parser>,
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

    fn compute(&self, parser: Box<Parser>) -> Receiver<Told> {
        let (reply, told) = channel();
        let job = Job { parser, reply };
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
    let Job { mut parser, reply } = job;
    let told = parser.force().and_then(|forced| {
        let ends = parser.is_stopped();
        let _ = reply.send(Told::Forced(forced, ends));
        if ends {
            return Ok(None);
        }
        let mask = parser.mask()?;
        Ok(Some(Told::Mask(parser, mask)))
    });
    let _ = match told {
        Ok(None) => return,
        Ok(Some(told)) => reply.send(told),
        Err(error) => reply.send(Told::Failed(error)),
    };
}
