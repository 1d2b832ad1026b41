//! Tenants that both wait are served alike.
//!
//! The rule is that of virtual token counters (Sheng et al., OSDI 2024): over any time in which two tenants both have
//! sequences waiting, the work done for one is ahead of that for the other by at most twice the larger of a request and a
//! batch. We take twice their sum.

use crate::violation::{Broken, ensure};
use laminar_schedule::TenantId;

/// What a generated token counts, in prompt tokens.
const TOKEN_COST: i64 = 2;

#[derive(Debug, Default)]
pub(super) struct Fairness {
    tenants: Vec<Tenant>,
    /// For each pair of tenants that both wait, how far the first was ahead when that began.
    ahead: Vec<((usize, usize), i64)>,
    largest_request: i64,
    most_tokens: i64,
    max_sequences: i64,
}

#[derive(Debug)]
struct Tenant {
    id: TenantId,
    served: i64,
    waiting: usize,
}

impl Fairness {
    pub fn new(max_sequences: usize) -> Self {
        Self { max_sequences: max_sequences as i64, ..Self::default() }
    }

    /// A sequence is accepted.
    pub fn accept(&mut self, prompt: usize, max_tokens: usize) {
        self.largest_request = self.largest_request.max((prompt + max_tokens) as i64);
        self.most_tokens = self.most_tokens.max(max_tokens as i64);
    }

    /// One more sequence waits.
    pub fn wait(&mut self, id: TenantId) {
        self.tenant(id).waiting += 1;
    }

    /// One sequence waits no longer.
    pub fn leave(&mut self, id: TenantId) {
        let tenant = self.tenant(id);
        tenant.waiting = tenant.waiting.saturating_sub(1);
    }

    /// Prompt rows were run for a tenant, or were not after all.
    pub fn serve_rows(&mut self, id: TenantId, rows: i64) {
        self.tenant(id).served += rows;
    }

    /// A token was generated for a tenant.
    pub fn serve_token(&mut self, id: TenantId) {
        self.tenant(id).served += TOKEN_COST;
    }

    /// To be called after everything that happens.
    pub fn check(&mut self) -> Result<(), Broken> {
        let tenants = &self.tenants;
        let waits = |place: usize| tenants[place].waiting > 0;
        let lead = |(one, other): (usize, usize)| tenants[one].served - tenants[other].served;
        self.ahead.retain(|((one, other), _)| waits(*one) && waits(*other));
        let bound = 2 * (self.largest_request + self.max_sequences * self.most_tokens * TOKEN_COST);
        for (pair, begin) in &self.ahead {
            let lead = lead(*pair) - begin;
            let (one, other) = (tenants[pair.0].id.0, tenants[pair.1].id.0);
            ensure!(
                lead.abs() <= bound,
                Fairness,
                "while tenants {one} and {other} both waited, one was served {} tokens more; {bound} are allowed",
                lead.abs()
            );
        }
        for other in (0..tenants.len()).filter(|place| waits(*place)) {
            for one in (0..other).filter(|place| waits(*place)) {
                if self.ahead.iter().all(|(pair, _)| *pair != (one, other)) {
                    self.ahead.push(((one, other), lead((one, other))));
                }
            }
        }
        Ok(())
    }

    fn tenant(&mut self, id: TenantId) -> &mut Tenant {
        let place = self.tenants.iter().position(|tenant| tenant.id == id).unwrap_or_else(|| {
            self.tenants.push(Tenant { id, served: 0, waiting: 0 });
            self.tenants.len() - 1
        });
        &mut self.tenants[place]
    }
}
