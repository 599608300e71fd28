//! [`Rule`]: which calls of a test store fail or are delayed, and which streams end early.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use artifact_store_core::{ArtifactId, Scope, StoreError, Verb};

/// Makes the error of a rule: one for each call, because an error cannot be cloned.
pub(super) type ErrorFactory = Arc<dyn Fn() -> StoreError + Send + Sync>;

/// What a rule does to a call.
#[derive(Clone)]
pub(super) enum Action {
    /// Returns this error and does not call the store.
    Fail(ErrorFactory),
    /// Calls the store, and then returns this error instead of the result of a successful call.
    FailAfter(ErrorFactory),
    /// Ends the stream of a get with an error.
    CutStream(StreamCut),
    /// Waits for this duration before it calls the store.
    Delay(Duration),
}

/// Where a stream ends, and with which error.
#[derive(Clone)]
pub(super) struct StreamCut {
    /// The number of bytes that are returned before the error.
    pub(super) bytes: u64,
    pub(super) make_error: ErrorFactory,
}

/// What happens to the calls of one verb. A new rule applies to every call of its verb; methods such as
/// [`in_scope`](Self::in_scope) and [`times`](Self::times) restrict it.
#[derive(Clone)]
#[must_use = "a rule does nothing until it is added to a store"]
pub struct Rule {
    pub(super) verb: Verb,
    pub(super) action: Action,
    scope: Option<Scope>,
    id: Option<ArtifactId>,
    /// The number of matching calls to skip before the rule applies.
    calls_to_skip: u64,
    /// The number of calls to which the rule may still apply.
    remaining_calls: u64,
}

impl Rule {
    fn new(verb: Verb, action: Action) -> Self {
        Self { verb, action, scope: None, id: None, calls_to_skip: 0, remaining_calls: u64::MAX }
    }

    /// The call fails with the result of `error`, and the store is not called.
    pub fn fail(verb: Verb, error: impl Fn() -> StoreError + Send + Sync + 'static) -> Self {
        Self::new(verb, Action::Fail(Arc::new(error)))
    }

    /// The store executes the call. If the call succeeds, the caller gets the result of `error`, as if the response was
    /// lost on the network. If the call fails, the caller gets the error of the store.
    pub fn fail_after(verb: Verb, error: impl Fn() -> StoreError + Send + Sync + 'static) -> Self {
        Self::new(verb, Action::FailAfter(Arc::new(error)))
    }

    /// A get succeeds, and its stream ends with the result of `error` after `bytes` bytes. A stream of at most `bytes`
    /// bytes is not changed.
    pub fn cut_stream(bytes: u64, error: impl Fn() -> StoreError + Send + Sync + 'static) -> Self {
        Self::new(Verb::Get, Action::CutStream(StreamCut { bytes, make_error: Arc::new(error) }))
    }

    /// The call first waits for `duration` on tokio's clock. With `tokio::time::pause`, the test does not really wait.
    pub fn delay(verb: Verb, duration: Duration) -> Self {
        Self::new(verb, Action::Delay(duration))
    }

    /// Restricts the rule to calls with this scope. A listing has a pattern instead of a scope, so a rule with a scope
    /// never applies to a listing.
    pub fn in_scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Restricts the rule to calls with this id. The id of a put is known only when its bytes have been read, so a rule
    /// with an id never applies to a put.
    pub fn with_id(mut self, id: ArtifactId) -> Self {
        self.id = Some(id);
        self
    }

    /// Does not apply to the first `calls` calls that match the verb, scope and id.
    pub fn skip(mut self, calls: u64) -> Self {
        self.calls_to_skip = calls;
        self
    }

    /// Applies to at most `calls` calls.
    pub fn times(mut self, calls: u64) -> Self {
        self.remaining_calls = calls;
        self
    }

    /// Counts a call with this verb, scope and id if it matches, and returns whether the rule applies to it. This
    /// method must run exactly once for each call.
    pub(super) fn count_call(&mut self, verb: Verb, scope: Option<&Scope>, id: Option<&ArtifactId>) -> bool {
        let matches = self.verb == verb
            && self.scope.as_ref().is_none_or(|wanted| scope == Some(wanted))
            && self.id.as_ref().is_none_or(|wanted| id == Some(wanted));
        if !matches {
            return false;
        }
        if self.calls_to_skip > 0 {
            self.calls_to_skip -= 1;
            return false;
        }
        let applies = self.remaining_calls > 0;
        self.remaining_calls = self.remaining_calls.saturating_sub(1);
        applies
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match &self.action {
            Action::Fail(_) => "fail".to_owned(),
            Action::FailAfter(_) => "fail after".to_owned(),
            Action::CutStream(cut) => format!("cut the stream after {} bytes", cut.bytes),
            Action::Delay(duration) => format!("delay by {duration:?}"),
        };
        f.debug_struct("Rule")
            .field("verb", &self.verb)
            .field("action", &action)
            .field("scope", &self.scope)
            .field("id", &self.id)
            .field("skip", &self.calls_to_skip)
            .field("times", &self.remaining_calls)
            .finish()
    }
}
