//! [`TestStore`]: a store that fails or delays calls according to [`Rule`]s, and records every call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Capabilities, Clock, ErrorContext, ErrorKind,
    Gate, GateOptions, GetResult, Health, ListQuery, Page, PresignIntent, PresignedRequest, PutOptions,
    PutResult, Record, Scope, StoreError, SystemClock, Verb, async_trait,
};
use artifact_store_inmem::{InmemConfig, InmemStore};
use futures_util::{StreamExt, stream};

use super::rule::{Action, Rule, StreamCut};

/// A call of a [`TestStore`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// The verb that was called.
    pub verb: Verb,
    /// The scope, if the verb takes one.
    pub scope: Option<Scope>,
    /// The id, if the verb takes one.
    pub id: Option<ArtifactId>,
    /// The result. `None` while the call is running, and if the future of the call was dropped.
    pub result: Option<Result<(), ErrorKind>>,
}

/// A store that applies [`Rule`]s to the calls of another store and records every call.
///
/// All rules that apply to a call are used. Their delays are added up. If several rules of one kind apply, such as two
/// [`Rule::fail`], the rule that was added first determines the error. A failure before the call ([`Rule::fail`]) takes
/// precedence over a failure after the call ([`Rule::fail_after`]). The error of a rule gets the context of the call,
/// as an error of the [`Gate`] does.
#[derive(Debug)]
pub struct TestStore {
    store: Arc<dyn ArtifactStore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    calls: Vec<Call>,
}

/// What the rules do to one call.
#[derive(Default)]
struct Plan {
    /// The delay before the call; zero for no delay.
    delay: Duration,
    /// The error to return instead of calling the store; `None` to call the store.
    error_before: Option<StoreError>,
    /// The error to return instead of the result of a successful call; `None` to return the result.
    error_after: Option<StoreError>,
    /// Where the stream ends with an error; `None` to return the whole stream.
    stream_cut: Option<StreamCut>,
}

/// A recorded call and its plan.
struct RecordedCall {
    /// The index of the call in `State::calls`.
    index: usize,
    context: ErrorContext,
    plan: Plan,
}

impl TestStore {
    /// Wraps `store`, which may be a store of any driver behind its [`Gate`].
    pub fn new(store: Arc<dyn ArtifactStore>) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// A store in memory behind a [`Gate`].
    ///
    /// # Errors
    /// `Unavailable` if the operating system provides no randomness for cursors.
    pub fn inmem() -> Result<Self, StoreError> {
        Self::inmem_with_clock(Arc::new(SystemClock))
    }

    /// As [`inmem`](Self::inmem), but records get their creation time from `clock`, for example a
    /// [`ManualClock`](super::ManualClock).
    ///
    /// # Errors
    /// As [`inmem`](Self::inmem).
    pub fn inmem_with_clock(clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let inmem_store = Arc::new(InmemStore::new(InmemConfig::new().clock(clock)));
        Ok(Self::new(Arc::new(Gate::new(inmem_store, GateOptions::default())?)))
    }

    /// Adds a rule for calls that begin later.
    pub fn add_rule(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.state().rules.clear();
    }

    /// The calls so far, in the order in which they began.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Locks the state. A poisoned lock is not an error, because the state is consistent even after a panic of the
    /// thread that held the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call, and collects what the rules do to the call.
    fn record_call(&self, verb: Verb, scope: Option<&Scope>, id: Option<&ArtifactId>) -> RecordedCall {
        let mut state = self.state();
        let index = state.calls.len();
        state.calls.push(Call { verb, scope: scope.cloned(), id: id.cloned(), result: None });
        let mut plan = Plan::default();
        for rule in &mut state.rules {
            if !rule.count_call(verb, scope, id) {
                continue;
            }
            match &rule.action {
                Action::Delay(duration) => plan.delay = plan.delay.saturating_add(*duration),
                Action::Fail(make_error) => {
                    plan.error_before.get_or_insert_with(|| make_error());
                }
                Action::FailAfter(make_error) => {
                    plan.error_after.get_or_insert_with(|| make_error());
                }
                Action::CutStream(cut) => {
                    plan.stream_cut.get_or_insert_with(|| cut.clone());
                }
            }
        }
        let context = ErrorContext { driver: self.store.driver(), verb, id: id.map(ToString::to_string) };
        RecordedCall { index, context, plan }
    }

    /// Runs the recorded `call` according to its plan and records its result.
    async fn run_call<T>(
        &self,
        recorded: RecordedCall,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let RecordedCall { index, context, plan } = recorded;
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        let result = match plan.error_before {
            Some(error) => Err(error),
            None => match (call.await, plan.error_after) {
                (Ok(_), Some(error)) => Err(error),
                (result, _) => result,
            },
        };
        let result = result.map_err(|error| error.with_context(|| context));
        if let Some(call) = self.state().calls.get_mut(index) {
            call.result = Some(result.as_ref().map(|_| ()).map_err(StoreError::kind));
        }
        result
    }
}

/// Ends `stream` with an error after `cut.bytes` bytes. A stream of at most `cut.bytes` bytes is not changed.
fn cut_stream(stream: ByteStream, cut: StreamCut, context: ErrorContext) -> ByteStream {
    // `state` is the rest of the stream and the number of bytes to return before the error; `None` after an error.
    ByteStream::new(stream::unfold(Some((stream, cut.bytes)), move |state| {
        let (make_error, context) = (Arc::clone(&cut.make_error), context.clone());
        async move {
            let (mut stream, remaining) = state?;
            match stream.next().await? {
                Ok(chunk) if chunk.len() as u64 <= remaining => {
                    let remaining = remaining - chunk.len() as u64;
                    Some((Ok(chunk), Some((stream, remaining))))
                }
                Ok(chunk) if remaining > 0 => {
                    // `remaining` is smaller than the length of the chunk, so it fits into a `usize`.
                    let cut_at = usize::try_from(remaining).ok()?;
                    // These bytes are never returned. The next poll finds them and returns the error.
                    let after_cut = ByteStream::from_bytes(chunk.slice(cut_at..));
                    Some((Ok(chunk.slice(..cut_at)), Some((after_cut, 0))))
                }
                Ok(_) => Some((Err(make_error().with_context(|| context)), None)),
                Err(store_error) => Some((Err(store_error), None)),
            }
        }
    }))
}

#[deny(clippy::missing_trait_methods)] // A verb that is not forwarded here would silently use its default body.
#[async_trait]
impl ArtifactStore for TestStore {
    fn driver(&self) -> &'static str {
        self.store.driver()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn put(&self, scope: &Scope, body: Body, options: PutOptions) -> Result<PutResult, StoreError> {
        let recorded = self.record_call(Verb::Put, Some(scope), None);
        self.run_call(recorded, self.store.put(scope, body, options)).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let mut recorded = self.record_call(Verb::Get, Some(scope), Some(id));
        let (cut, context) = (recorded.plan.stream_cut.take(), recorded.context.clone());
        let get = self.run_call(recorded, self.store.get(scope, id, range)).await?;
        Ok(match (get, cut) {
            (Some(get), Some(cut)) => Some(GetResult { stream: cut_stream(get.stream, cut, context), ..get }),
            (get, _) => get,
        })
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let recorded = self.record_call(Verb::Stat, Some(scope), Some(id));
        self.run_call(recorded, self.store.stat(scope, id)).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let recorded = self.record_call(Verb::Delete, Some(scope), Some(id));
        self.run_call(recorded, self.store.delete(scope, id)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let recorded = self.record_call(Verb::List, None, None);
        self.run_call(recorded, self.store.list(query)).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        let recorded = self.record_call(Verb::Presign, Some(scope), Some(&intent.id()));
        self.run_call(recorded, self.store.presign(scope, intent, expiry)).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        let recorded = self.record_call(Verb::CommitUpload, Some(scope), Some(id));
        self.run_call(recorded, self.store.commit_upload(scope, id)).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let recorded = self.record_call(Verb::Health, None, None);
        self.run_call(recorded, self.store.health()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let recorded = self.record_call(Verb::Close, None, None);
        self.run_call(recorded, self.store.close()).await
    }
}
