//! Stub while the engine is written.
#![allow(unused_variables, clippy::all)]
use crate::backend::*;
use crate::error::Error;
use crate::id::TaskId;
use crate::record::*;
use crate::time::Timestamp;
use crate::watch::Signal;
use std::sync::Arc;
pub(crate) struct Memory(Arc<Signal>);
impl Memory {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }
}
impl Backend for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, shared: false }
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
    fn signal(&self) -> &Arc<Signal> {
        &self.0
    }
    fn watch(&self) -> Result<(), Error> {
        Ok(())
    }
    fn check_usable(&self) -> Result<(), Error> {
        Ok(())
    }
    fn enqueue(
        &self,
        now: Timestamp,
        tasks: Vec<NewTask>,
        offer: Option<Arc<dyn Offer>>,
    ) -> Result<Vec<Stored>, Error> {
        Err(Error::Closed)
    }
    fn join(&self, now: Timestamp, member: &Member) -> Result<i64, Error> {
        Ok(1)
    }
    fn leave(&self, now: Timestamp, owner: i64) -> Result<(), Error> {
        Ok(())
    }
    fn note_start(&self, owner: i64, slot: usize, row: i64, attempt: u32) {}
    fn exchange(
        &self,
        now: Timestamp,
        finishes: &[Finish],
        offer: Option<&dyn Offer>,
    ) -> Result<Exchanged, Error> {
        Err(Error::Closed)
    }
    fn claim_one(
        &self,
        now: Timestamp,
        id: TaskId,
        offer: &dyn Offer,
    ) -> Result<Option<Claimed>, Error> {
        Ok(None)
    }
    fn renew(&self, owner: i64) -> Result<bool, Error> {
        Ok(true)
    }
    fn rescue(&self, now: Timestamp, owner: i64) -> Result<Rescued, Error> {
        Ok(Rescued::default())
    }
    fn cancel(&self, now: Timestamp, id: TaskId) -> Result<Cancelled, Error> {
        Err(Error::Closed)
    }
    fn cancel_requests(&self, owner: i64) -> Result<Vec<i64>, Error> {
        Ok(vec![])
    }
    fn get(&self, id: TaskId) -> Result<Option<TaskRecord>, Error> {
        Ok(None)
    }
    fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        Ok(vec![])
    }
    fn find(&self, key: &str) -> Result<Option<TaskRecord>, Error> {
        Ok(None)
    }
    fn list(&self, filter: &Filter, from: Option<Cursor>, size: usize) -> Result<Page, Error> {
        Ok(Page::default())
    }
    fn count(&self, filter: &Filter, limit: u64) -> Result<u64, Error> {
        Ok(0)
    }
    fn serves(&self, kind: &str) -> Result<bool, Error> {
        Ok(false)
    }
}
