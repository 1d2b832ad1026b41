//! Who gets blocks, who loses them, and in which order.

use super::Auditor;
use super::sequence::{Name, Place};
use crate::violation::{Broken, ensure};
use laminar_schedule::{Policy, Scheduler, SequenceId, Step, TileRows};

impl Auditor {
    /// Whether the policy admits strictly in order and has one cohort at a time.
    pub(super) fn follows_strictly(&self) -> bool {
        !matches!(self.config.policy, Policy::Adaptive { .. })
    }

    /// Blocks are taken away only in need, from the most junior.
    pub(super) fn check_preemptions(&mut self, step: &Step) -> Result<(), Broken> {
        let block_len = self.config.block_len;
        let decoding = self.living.values().filter(|sequence| sequence.place == Place::Decoding);
        let needy = decoding.filter(|sequence| sequence.table.len() * block_len < sequence.tokens()).count();
        let available = self.config.kv_blocks - self.kv.used;
        ensure!(
            step.preempted.is_empty() || needy > available,
            Preemption,
            "{:?} lose their blocks though {available} are left for {needy}",
            step.preempted
        );
        let mut most_senior = None;
        for id in &step.preempted {
            let Some(sequence) = self.living.get_mut(id).filter(|sequence| sequence.is_running()) else {
                return Err(Broken(crate::Rule::Preemption, format!("{} is preempted but does not run", Name(*id))));
            };
            most_senior = most_senior.max(Some(sequence.seniority()));
            self.kv.release(&sequence.table);
            sequence.restart();
            self.fairness.wait(sequence.tenant);
            self.preemptions += 1;
            self.leave_cohort(*id);
        }
        let spared = self.running().map(|sequence| sequence.seniority()).min();
        ensure!(
            spared.is_none() || spared > most_senior,
            Preemption,
            "somebody more senior than a running sequence is preempted: {:?}",
            step.preempted
        );
        Ok(())
    }

    /// New tables and longer ones.
    pub(super) fn check_admissions(&mut self, step: &Step, scheduler: &Scheduler) -> Result<(), Broken> {
        let block_len = self.config.block_len;
        let mut fresh = Vec::new();
        let mut admitted = Vec::new();
        let mut slots = Vec::new();
        for (id, sequence) in &mut self.living {
            let name = Name(*id);
            let Some(table) = scheduler.blocks(*id) else {
                ensure!(!sequence.is_running(), Table, "{name} runs and has lost its blocks");
                continue;
            };
            let Some(state) = scheduler.states(*id) else {
                return Err(Broken(crate::Rule::State, format!("{name} has blocks and no state")));
            };
            sequence.state = state;
            slots.push(state);
            let least = sequence.tokens().div_ceil(block_len);
            ensure!(
                (least..=least + 1).contains(&table.len()),
                Table,
                "{name} has {} blocks for {} tokens",
                table.len(),
                sequence.tokens()
            );
            let before = sequence.table.len();
            if sequence.is_running() {
                ensure!(table.starts_with(&sequence.table), Table, "the blocks of {name} have changed");
                ensure!(table.len() - before <= 1, Table, "{name} gets {} blocks at once", table.len() - before);
                fresh.extend_from_slice(&table[before..]);
            } else {
                sequence.place = Place::Prefilling;
                admitted.push(*id);
            }
            self.kv.hold(&table[before..])?;
            sequence.table = table.to_vec();
        }
        self.states.check(&slots)?;
        for block in fresh {
            self.kv.take(block)?;
        }
        for sequence in admitted.iter().filter_map(|id| self.living.get(id)) {
            self.fairness.leave(sequence.tenant);
            self.fairness.serve_rows(sequence.tenant, sequence.tokens() as i64);
            if sequence.prefix {
                self.lookup_tokens += sequence.tokens() as u64;
            }
        }
        self.check_order(step, &admitted)?;
        self.check_room(step, &admitted)
    }

    /// The first tile with a sequence shows how much it has found in the prefix cache: that must be there, and the blocks
    /// behind it must be its own.
    pub(super) fn begin(&mut self, member: &TileRows) -> Result<(), Broken> {
        let (name, hit) = (Name(member.sequence), member.start);
        let Some(sequence) = self.living.get_mut(&member.sequence) else { return Ok(()) };
        let block_len = self.config.block_len;
        ensure!(hit % block_len == 0 && hit < sequence.tokens(), Cache, "{name} starts at row {hit}");
        ensure!(hit == 0 || sequence.prefix, Cache, "{name} shows no prefix but starts at row {hit}");
        (sequence.hit, sequence.done) = (Some(hit), hit);
        self.hit_tokens += hit as u64;
        self.fairness.serve_rows(sequence.tenant, -(hit as i64));
        sequence.table[hit / block_len..].iter().try_for_each(|block| self.kv.take(*block))?;
        let found = self.kv.check(&sequence.table, &sequence.rows[..hit]);
        found.map_err(|Broken(rule, message)| Broken(rule, format!("{name} finds that {message}")))
    }

    /// Within a tenant, those who came first (with their head starts) are admitted first. Under `adaptive` that
    /// is so among prompts of one length, and those that keep others company do not count.
    fn check_order(&self, step: &Step, admitted: &[SequenceId]) -> Result<(), Broken> {
        let strictly = self.follows_strictly();
        if !strictly && self.has_ttft_targets() {
            return Ok(());
        }
        // Those whom the prefix cache spares some rows may keep company where others may not, and lead later.
        let leads = |id: &SequenceId| {
            let mut leaders = step.tiles.iter().filter_map(|tile| tile.members.first());
            leaders.any(|member| member.sequence == *id && member.start == 0)
        };
        for (id, sequence) in admitted.iter().filter_map(|id| Some((id, self.living.get(id)?))) {
            let passed_over = self.waiting().find(|other| {
                let same_tenant = other.tenant == sequence.tenant;
                let first = other.order() < sequence.order();
                same_tenant && first && (strictly || (leads(id) && other.tokens() == sequence.tokens()))
            });
            let Some(other) = passed_over else { continue };
            ensure!(
                false,
                Admission,
                "{} is admitted while number {} of tenant {} waits, which comes before it",
                Name(*id),
                other.number,
                sequence.tenant.0
            );
        }
        Ok(())
    }

    /// Whether anybody has a target for the first token, which may change the order.
    fn has_ttft_targets(&self) -> bool {
        let Policy::Adaptive { targets, .. } = self.config.policy else { return false };
        targets.ttft.is_some() || self.living.values().any(|sequence| sequence.has_ttft_target)
    }

    /// Enough is left for those who run, and nobody waits in vain.
    fn check_room(&self, step: &Step, admitted: &[SequenceId]) -> Result<(), Broken> {
        let running = self.running().count();
        let left = self.config.kv_blocks - self.kv.used;
        ensure!(running <= self.config.max_sequences, Admission, "{running} sequences run");
        ensure!(
            admitted.is_empty() || left + 1 >= running,
            Admission,
            "{left} blocks are left when {running} sequences run and one of them is new"
        );
        // Decode rows may use up the whole budget of the paper's released chunks, as they do there.
        if matches!(self.config.policy, Policy::ChunkedReleased { tokens } if step.decode.len() >= tokens) {
            return Ok(());
        }
        let started = self.living.values().filter(|sequence| sequence.place == Place::Prefilling).count();
        ensure!(started == 0 || !step.tiles.is_empty(), Starvation, "{started} prompts have started and none goes on");
        if step.tiles.is_empty() && running < self.config.max_sequences {
            let fits = |tokens: usize| tokens.div_ceil(self.config.block_len) + running <= left;
            let all_fit = self.waiting().all(|sequence| fits(sequence.tokens()));
            let waiting = self.waiting().count();
            ensure!(waiting == 0 || !all_fit, Starvation, "{waiting} sequences wait and nothing is prefilled");
        }
        Ok(())
    }
}
