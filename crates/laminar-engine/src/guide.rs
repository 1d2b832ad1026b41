//! Keeps one answer to its grammar, token by token.
//!
//! After a token the next mask is computed on a thread of its own, while the engine thread executes the next step.

use std::sync::mpsc::{Receiver, Sender, channel};

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use crate::constraint::{Constraint, first_line};

/// The parser of one answer.
pub(crate) struct Guide {
    state: State,
}

enum State {
    /// The mask of the next token is known.
    Ready(Box<Matcher>, SimpleVob),
    /// It is being computed.
    Pending(Receiver<Computed>),
    /// Nothing may come any more, or the parser has failed.
    Over,
}

/// A parser and the mask of its next token.
type Computed = Result<(Box<Matcher>, SimpleVob), String>;

/// What a token has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// More may come.
    Open,
    /// The answer is complete; nothing may follow.
    Complete,
}

impl Guide {
    /// A parser at the beginning of an answer.
    pub fn new(constraint: &Constraint) -> Self {
        let (matcher, mask) = constraint.begin();
        Self { state: State::Ready(Box::new(matcher), mask) }
    }

    /// The tokens that may come next; waits for them if they are being computed.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn mask(&mut self) -> Result<&SimpleVob, String> {
        if let State::Pending(receiver) = &self.state {
            let computed = receiver.recv().unwrap_or_else(|_| Err("the thread of the masks has ended".to_owned()));
            self.state = match computed {
                Ok((matcher, mask)) => State::Ready(matcher, mask),
                Err(error) => {
                    self.state = State::Over;
                    return Err(error);
                }
            };
        }
        match &self.state {
            State::Ready(_, mask) => Ok(mask),
            _ => Err("the grammar allows no further token".to_owned()),
        }
    }

    /// Takes the token chosen and has the next mask computed.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn accept(&mut self, id: u32, masks: &mut MaskThread) -> Result<Advance, String> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Ready(mut matcher, _) => {
                matcher.consume_token(id).map_err(|error| first_line(&error.to_string()))?;
                if matcher.is_stopped() {
                    return Ok(Advance::Complete);
                }
                self.state = State::Pending(masks.compute(matcher));
                Ok(Advance::Open)
            }
            _ => Err("a token came before its mask".to_owned()),
        }
    }
}

/// The thread that computes masks. It starts with the first job and ends with this handle.
#[derive(Default)]
pub(crate) struct MaskThread {
    jobs: Option<Sender<Job>>,
}

type Job = (Box<Matcher>, Sender<Computed>);

impl MaskThread {
    /// The way to the thread; none where the system refuses one. Then masks are computed by whoever asks for them.
    fn jobs(&mut self) -> Option<&Sender<Job>> {
        if self.jobs.is_some() {
            return self.jobs.as_ref();
        }
        let (jobs, receiver) = channel::<Job>();
        let run = move || {
            for (matcher, reply) in receiver {
                // The request may have ended meanwhile.
                let _ = reply.send(compute(matcher));
            }
        };
        let thread = std::thread::Builder::new().name("laminar-masks".into()).spawn(run);
        self.jobs = thread.is_ok().then_some(jobs);
        self.jobs.as_ref()
    }

    fn compute(&mut self, matcher: Box<Matcher>) -> Receiver<Computed> {
        let (reply, receiver) = channel();
        let unsent = match self.jobs() {
            Some(jobs) => jobs.send((matcher, reply)).map_err(|error| error.0).err(),
            None => Some((matcher, reply)),
        };
        if let Some((matcher, reply)) = unsent {
            let _ = reply.send(compute(matcher));
        }
        receiver
    }
}

fn compute(mut matcher: Box<Matcher>) -> Computed {
    match matcher.compute_mask() {
        Ok(mask) => Ok((matcher, mask)),
        Err(error) => Err(first_line(&error.to_string())),
    }
}
