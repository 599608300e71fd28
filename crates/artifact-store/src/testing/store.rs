//! [`TestStore`]: a store that fails or delays calls by rule, and records every call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use artifact_store_core::{
    ArtifactId, ArtifactStore, Body, ByteRange, ByteStream, Capabilities, Clock, ErrorContext, ErrorKind,
    Gate, GateOptions, GetResult, Health, ListQuery, Page, PresignIntent, PresignedRequest, PutOptions,
    PutResult, Record, Scope, StoreError, SystemClock, Verb, async_trait,
};
use artifact_store_inmem::{InmemConfig, InmemStore};
use futures_util::{StreamExt, stream};

use super::rule::{Action, MakeError, Rule};

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
    fail: Option<StoreError>,
    /// The error to return instead of the result of a successful call; `None` to return the result.
    fail_after: Option<StoreError>,
    /// How many bytes of the stream are returned before the error, and the error. `None` to return the whole stream.
    cut: Option<(u64, MakeError)>,
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
        let bare = Arc::new(InmemStore::new(InmemConfig::new().clock(clock)));
        Ok(Self::new(Arc::new(Gate::new(bare, GateOptions::default())?)))
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
    fn begin(&self, verb: Verb, scope: Option<&Scope>, id: Option<&ArtifactId>) -> RecordedCall {
        let mut state = self.state();
        let index = state.calls.len();
        state.calls.push(Call { verb, scope: scope.cloned(), id: id.cloned(), result: None });
        let mut plan = Plan::default();
        for rule in &mut state.rules {
            if !rule.applies(verb, scope, id) {
                continue;
            }
            match &rule.action {
                Action::Delay(duration) => plan.delay = plan.delay.saturating_add(*duration),
                Action::Fail(error) => {
                    plan.fail.get_or_insert_with(|| error());
                }
                Action::FailAfter(error) => {
                    plan.fail_after.get_or_insert_with(|| error());
                }
                Action::CutStream(bytes, error) => {
                    plan.cut.get_or_insert_with(|| (*bytes, Arc::clone(error)));
                }
            }
        }
        let context = ErrorContext { driver: self.store.driver(), verb, id: id.map(ToString::to_string) };
        RecordedCall { index, context, plan }
    }

    /// Runs `call` according to its plan and records its result.
    async fn finish<T>(
        &self,
        recorded: RecordedCall,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let RecordedCall { index, context, plan } = recorded;
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        let result = match plan.fail {
            Some(error) => Err(error),
            None => match (call.await, plan.fail_after) {
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

/// Ends `stream` with an error after `bytes` bytes. A stream of at most `bytes` bytes is not changed.
fn cut_stream(stream: ByteStream, bytes: u64, error: MakeError, context: ErrorContext) -> ByteStream {
    // `state` is the rest of the stream and the number of bytes to return before the error; `None` after an error.
    ByteStream::new(stream::unfold(Some((stream, bytes)), move |state| {
        let (error, context) = (Arc::clone(&error), context.clone());
        async move {
            let (mut stream, remaining) = state?;
            match stream.next().await? {
                Ok(piece) if piece.len() as u64 <= remaining => {
                    let remaining = remaining - piece.len() as u64;
                    Some((Ok(piece), Some((stream, remaining))))
                }
                Ok(piece) if remaining > 0 => {
                    // `remaining` is smaller than the length of the piece, so it fits into a `usize`.
                    let cut_at = usize::try_from(remaining).ok()?;
                    // These bytes are never returned. The next poll finds them and returns the error.
                    let after_cut = ByteStream::from_bytes(piece.slice(cut_at..));
                    Some((Ok(piece.slice(..cut_at)), Some((after_cut, 0))))
                }
                Ok(_) => Some((Err(error().with_context(|| context)), None)),
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
        let recorded = self.begin(Verb::Put, Some(scope), None);
        self.finish(recorded, self.store.put(scope, body, options)).await
    }

    async fn get(
        &self,
        scope: &Scope,
        id: &ArtifactId,
        range: Option<ByteRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let mut recorded = self.begin(Verb::Get, Some(scope), Some(id));
        let (cut, context) = (recorded.plan.cut.take(), recorded.context.clone());
        let get = self.finish(recorded, self.store.get(scope, id, range)).await?;
        Ok(match (get, cut) {
            (Some(get), Some((bytes, error))) => {
                Some(GetResult { stream: cut_stream(get.stream, bytes, error, context), ..get })
            }
            (get, _) => get,
        })
    }

    async fn stat(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<Record>, StoreError> {
        let recorded = self.begin(Verb::Stat, Some(scope), Some(id));
        self.finish(recorded, self.store.stat(scope, id)).await
    }

    async fn delete(&self, scope: &Scope, id: &ArtifactId) -> Result<bool, StoreError> {
        let recorded = self.begin(Verb::Delete, Some(scope), Some(id));
        self.finish(recorded, self.store.delete(scope, id)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let recorded = self.begin(Verb::List, None, None);
        self.finish(recorded, self.store.list(query)).await
    }

    async fn presign(
        &self,
        scope: &Scope,
        intent: &PresignIntent,
        expiry: Duration,
    ) -> Result<Option<PresignedRequest>, StoreError> {
        let recorded = self.begin(Verb::Presign, Some(scope), Some(&intent.id()));
        self.finish(recorded, self.store.presign(scope, intent, expiry)).await
    }

    async fn commit_upload(&self, scope: &Scope, id: &ArtifactId) -> Result<Option<PutResult>, StoreError> {
        let recorded = self.begin(Verb::CommitUpload, Some(scope), Some(id));
        self.finish(recorded, self.store.commit_upload(scope, id)).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let recorded = self.begin(Verb::Health, None, None);
        self.finish(recorded, self.store.health()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let recorded = self.begin(Verb::Close, None, None);
        self.finish(recorded, self.store.close()).await
    }
}
