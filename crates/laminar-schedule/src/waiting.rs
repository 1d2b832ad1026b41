//! Who is admitted next: the waiting sequences, by tenant.
//!
//! Tenants are served by a virtual token counter (Sheng et al., *Fairness in Serving Large Language Models*, OSDI 2024):
//! each tenant's counter grows with the work done for it, and the tenant with the smallest counter among those that wait
//! comes next. A tenant that begins to wait starts at the smallest counter of those that wait, so nobody saves up a credit by
//! asking for little or nothing for a while. Within a tenant the order is that of arrival, a priority counting as a head start.

use crate::TenantId;
use crate::queues::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// Index of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TenantSlot(usize);

/// What a generated token costs its tenant, in prompt tokens: it takes a step of its own.
const TOKEN_COST: u64 = 2;

/// What waiting sequences are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    /// When it came, its priority counted in.
    pub virtual_arrival: i64,
    /// Of equal arrivals, the one that was submitted first comes first.
    pub number: u64,
    /// Tokens to prefill.
    pub tokens: usize,
}

/// Contenders of each kind: enough to find nearly always whom a walk over all would find, and few enough to compare in every
/// step.
const CONTENDERS: usize = 32;

#[derive(Debug)]
struct Tenant {
    id: TenantId,
    /// Work done for it, in prompt tokens.
    served: u64,
    waiting: BTreeSet<(Order, Slot)>,
    /// The same, the shortest first.
    by_length: BTreeSet<(usize, u64, Slot)>,
    /// The first of them, at hand: every plan compares those of all tenants.
    first: Option<(Order, Slot)>,
    /// Its sequences, waiting or not.
    living: usize,
}

/// All waiting sequences.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    tenants: Vec<Tenant>,
    by_id: BTreeMap<TenantId, TenantSlot>,
    len: usize,
    living: usize,
    /// The counter of the tenant that was served last: where a tenant starts when nobody waits.
    turn: u64,
}

impl Waiting {
    /// A sequence of this tenant begins to live.
    pub fn enter(&mut self, id: TenantId) -> TenantSlot {
        if self.living == 0 {
            // Nobody is there to be compared with.
            self.tenants.clear();
            self.by_id.clear();
            self.turn = 0;
        }
        let slot = match self.by_id.get(&id) {
            Some(slot) => *slot,
            None => self.add(id),
        };
        if let Some(tenant) = self.tenants.get_mut(slot.0) {
            tenant.living += 1;
        }
        self.living += 1;
        slot
    }

    /// Where a tenant starts that begins to wait now.
    fn floor(&self) -> u64 {
        let waiting = self.tenants.iter().filter(|tenant| tenant.first.is_some());
        waiting.map(|tenant| tenant.served).min().unwrap_or(self.turn)
    }

    /// A place for a tenant: that of one who has left and whose counter would be lifted anyway, or a new one.
    fn add(&mut self, id: TenantId) -> TenantSlot {
        let floor = self.floor();
        let tenant =
            Tenant { id, served: 0, waiting: BTreeSet::new(), by_length: BTreeSet::new(), first: None, living: 0 };
        let left = self.tenants.iter().position(|tenant| tenant.living == 0 && tenant.served <= floor);
        let slot = TenantSlot(left.unwrap_or(self.tenants.len()));
        match self.tenants.get_mut(slot.0) {
            Some(place) => {
                self.by_id.remove(&place.id);
                *place = tenant;
            }
            None => self.tenants.push(tenant),
        }
        self.by_id.insert(id, slot);
        slot
    }

    /// A sequence of this tenant has ended.
    pub fn leave(&mut self, slot: TenantSlot) {
        if let Some(tenant) = self.tenants.get_mut(slot.0) {
            tenant.living -= 1;
        }
        self.living -= 1;
    }

    /// A sequence begins to wait.
    pub fn insert(&mut self, tenant: TenantSlot, order: Order, slot: Slot) {
        let floor = self.floor();
        if let Some(tenant) = self.tenants.get_mut(tenant.0) {
            if tenant.first.is_none() {
                tenant.served = tenant.served.max(floor);
            }
            self.len += usize::from(tenant.waiting.insert((order, slot)));
            tenant.by_length.insert((order.tokens, order.number, slot));
            tenant.first = tenant.waiting.first().copied();
        }
    }

    /// A sequence waits no longer.
    pub fn remove(&mut self, tenant: TenantSlot, order: Order, slot: Slot) {
        if let Some(tenant) = self.tenants.get_mut(tenant.0)
            && tenant.waiting.remove(&(order, slot))
        {
            tenant.by_length.remove(&(order.tokens, order.number, slot));
            tenant.first = tenant.waiting.first().copied();
            self.len -= 1;
            self.turn = self.turn.max(tenant.served);
        }
    }

    /// Sequences that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The one that comes next.
    pub fn head(&self) -> Option<Slot> {
        self.in_turn().next()
    }

    /// The waiting sequences of the tenant whose turn it is, in their order.
    pub fn in_turn(&self) -> impl Iterator<Item = Slot> {
        self.tenant_in_turn().into_iter().flat_map(|tenant| tenant.waiting.iter().map(|(_, slot)| *slot))
    }

    /// Of these, the ones that have waited longest, then the shortest ones. Some may come twice.
    pub fn contenders(&self) -> impl Iterator<Item = Slot> {
        let tenant = self.tenant_in_turn();
        let longest = tenant.into_iter().flat_map(|tenant| tenant.waiting.iter().map(|(_, slot)| *slot));
        let shortest = tenant.into_iter().flat_map(|tenant| tenant.by_length.iter().map(|(_, _, slot)| *slot));
        longest.take(CONTENDERS).chain(shortest.take(CONTENDERS))
    }

    fn tenant_in_turn(&self) -> Option<&Tenant> {
        let waiting = self.tenants.iter().filter(|tenant| tenant.first.is_some());
        waiting.min_by(|one, other| one.served.cmp(&other.served).then_with(|| one.first.cmp(&other.first)))
    }

    /// Work done for a tenant: prompt rows.
    pub fn charge_rows(&mut self, tenant: TenantSlot, rows: usize) {
        if let Some(tenant) = self.tenants.get_mut(tenant.0) {
            tenant.served = tenant.served.saturating_add(rows as u64);
        }
    }

    /// Work done for a tenant: one token.
    pub fn charge_token(&mut self, tenant: TenantSlot) {
        if let Some(tenant) = self.tenants.get_mut(tenant.0) {
            tenant.served = tenant.served.saturating_add(TOKEN_COST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(virtual_arrival: i64, number: u64) -> Order {
        Order { virtual_arrival, number, tokens: 10 }
    }

    /// Serves the head `times` times, each for so many rows as its tenant's number, and returns the tenants.
    fn serve(waiting: &mut Waiting, tenants: &[TenantSlot], times: usize, rows: &[usize]) -> Vec<usize> {
        (0..times)
            .map(|_| {
                let tenant = waiting.head().unwrap().0;
                waiting.charge_rows(tenants[tenant], rows[tenant]);
                tenant
            })
            .collect()
    }

    #[test]
    fn tenants_get_equal_shares_of_work_however_much_they_ask() {
        let mut waiting = Waiting::default();
        let tenants = [waiting.enter(TenantId(7)), waiting.enter(TenantId(8))];
        waiting.insert(tenants[0], order(0, 0), Slot(0));
        waiting.insert(tenants[1], order(1, 1), Slot(1));
        // The first one's prompts are three times as long.
        let served = serve(&mut waiting, &tenants, 8, &[300, 100]);
        assert_eq!(served, [0, 1, 1, 1, 0, 1, 1, 1]);
    }

    #[test]
    fn a_tenant_that_comes_late_has_no_credit() {
        let mut waiting = Waiting::default();
        let first = waiting.enter(TenantId(7));
        waiting.insert(first, order(0, 0), Slot(0));
        waiting.charge_rows(first, 10_000);
        let late = waiting.enter(TenantId(8));
        waiting.insert(late, order(1, 1), Slot(1));
        assert_eq!(serve(&mut waiting, &[first, late], 4, &[100, 100]), [0, 1, 0, 1]);
    }

    #[test]
    fn a_tenant_that_asked_for_little_has_no_credit() {
        let mut waiting = Waiting::default();
        let (busy, quiet) = (waiting.enter(TenantId(7)), waiting.enter(TenantId(8)));
        waiting.insert(busy, order(0, 0), Slot(0));
        // One long stream on one side, many prompts on the other.
        (0..100).for_each(|_| waiting.charge_token(quiet));
        waiting.charge_rows(busy, 10_000);
        waiting.insert(quiet, order(1, 1), Slot(1));
        assert_eq!(serve(&mut waiting, &[busy, quiet], 4, &[100, 100]), [0, 1, 0, 1]);
    }

    #[test]
    fn a_tenant_cannot_drop_its_debt_by_leaving_for_a_moment() {
        let mut waiting = Waiting::default();
        let (first, second) = (waiting.enter(TenantId(7)), waiting.enter(TenantId(8)));
        waiting.insert(second, order(1, 1), Slot(1));
        waiting.charge_rows(first, 1000);
        waiting.leave(first);
        let again = waiting.enter(TenantId(7));
        waiting.insert(again, order(0, 0), Slot(0));
        assert_eq!(serve(&mut waiting, &[again, second], 3, &[500, 500]), [1, 1, 0]);
    }

    #[test]
    fn tenants_that_have_left_take_no_room() {
        let mut waiting = Waiting::default();
        let stays = waiting.enter(TenantId(0));
        waiting.insert(stays, order(0, 0), Slot(0));
        for id in 1..1000 {
            let tenant = waiting.enter(TenantId(id));
            waiting.insert(tenant, order(1, 1), Slot(1));
            waiting.remove(tenant, order(1, 1), Slot(1));
            waiting.charge_token(tenant);
            waiting.leave(tenant);
            waiting.charge_token(stays);
        }
        assert!(waiting.tenants.len() < 4 && waiting.by_id.len() < 4);
    }

    #[test]
    fn contenders_are_the_oldest_and_the_shortest() {
        let mut waiting = Waiting::default();
        let tenant = waiting.enter(TenantId(7));
        for number in 0..1000 {
            let order = Order { virtual_arrival: 0, number, tokens: if number == 900 { 5 } else { 10 } };
            waiting.insert(tenant, order, Slot(number as usize));
        }
        let contenders: Vec<usize> = waiting.contenders().map(|slot| slot.0).collect();
        assert_eq!((contenders[0], contenders[CONTENDERS]), (0, 900));
        assert_eq!(contenders.len(), 2 * CONTENDERS);
        waiting.remove(tenant, Order { virtual_arrival: 0, number: 900, tokens: 5 }, Slot(900));
        assert!(waiting.contenders().all(|slot| slot.0 != 900));
    }
}
