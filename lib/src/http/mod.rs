//! The outside door: routes, and what every request goes through.

mod a2a;
mod admit;
mod agents;
mod audit;
pub mod auth;
mod capabilities;
mod card;
mod chat;
mod configuration;
pub mod error;
mod experiments;
mod health;
mod keys;
mod language;
mod live;
mod metrics;
mod person;
mod preferences;
mod route;
mod trace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::{any, delete, get, post};
use tokio::time::Instant;

use crate::coordinator::Coordinator;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{AgentId, Millis, Timestamp};
use crate::domain::rules::{Caps, Times};
use crate::domain::sentences;
use crate::privacy::Privacy;
use auth::Auth;
use error::{ApiError, Statuses};
use health::Readiness;
pub use live::{Live, Renew};

/// What the routes share.
#[derive(Debug)]
pub struct App {
    pub live: Live,
    privacy: Privacy,
    pub auth: Auth,
    pub times: Times,
    pub caps: Caps,
    /// Requests that came through more coordinators than these are refused.
    pub depth: u32,
    pub statuses: Statuses,
    readiness: Readiness,
    /// When agents that were not at their addresses were asked what they can.
    asked: Mutex<HashMap<AgentId, Instant>>,
}

impl App {
    pub fn new(
        live: Live,
        privacy: Privacy,
        auth: Auth,
        times: Times,
        caps: Caps,
        depth: u32,
        statuses: Statuses,
    ) -> Arc<Self> {
        Arc::new(Self {
            live,
            privacy,
            auth,
            times,
            caps,
            depth,
            statuses,
            readiness: Readiness::default(),
            asked: Mutex::default(),
        })
    }

    /// The coordinator of this moment.
    pub fn coordinator(&self) -> Arc<Coordinator> {
        self.live.now()
    }

    /// People's data, at the agents as they are now.
    pub fn privacy(&self) -> Privacy {
        Privacy {
            gateways: self.coordinator().agents.gateways.clone(),
            ..self.privacy.clone()
        }
    }
}

/// What is left of the function's own time, where the host knows it: a request extension.
#[derive(Clone, Copy, Debug)]
pub struct FunctionTime(pub Duration);

impl FunctionTime {
    /// `None` for a moment in the past, which is what local emulators send.
    pub fn until(epoch_millis: u64) -> Option<Self> {
        let end = SystemTime::UNIX_EPOCH + Duration::from_millis(epoch_millis);
        end.duration_since(wall_clock()).ok().map(Self)
    }
}

/// The chat function's routes.
pub fn chat_routes(app: Arc<App>) -> Router {
    Router::new()
        // Deployment ids may hold slashes, so the whole rest is taken and looked at by hand.
        .route("/openai/deployments/{*rest}", any(chat::deployment))
        .route("/openai/v1/chat/completions", any(chat::v1))
        .route("/a2a", any(a2a::call))
        .route(
            "/.well-known/agent-card.json",
            get(card::show).fallback(wrong_method),
        )
        .route(
            "/.well-known/jwks.json",
            get(keys::published).fallback(wrong_method),
        )
        .fallback(not_found)
        .with_state(app)
}

/// The health function's routes.
pub fn health_routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health::alive))
        .route("/health/ready", get(health::ready))
        .method_not_allowed_fallback(wrong_method)
        .fallback(not_found)
        .with_state(app)
}

/// The routes of the function for everything else that answers at once.
pub fn api_routes(app: Arc<App>) -> Router {
    let deletes = || async { wrong_method_for("DELETE") };
    Router::new()
        .route("/v1/person/export", get(person::export_own))
        .route("/v1/person", delete(person::erase_own).fallback(deletes))
        .route("/v1/persons/{owner}/export", get(person::export_other))
        .route(
            "/v1/persons/{owner}",
            delete(person::erase_other).fallback(deletes),
        )
        .route(
            "/v1/route",
            post(route::explain).fallback(|| async { wrong_method_for("POST") }),
        )
        .route(
            "/v1/preferences",
            get(preferences::show)
                .put(preferences::set)
                .delete(preferences::forget)
                .fallback(|| async { wrong_method_for("GET, PUT, DELETE") }),
        )
        .route("/v1/agents", get(agents::list))
        .route(
            "/v1/agents/{name}",
            get(agents::show)
                .put(agents::put)
                .delete(agents::remove)
                .fallback(|| async { wrong_method_for("GET, PUT, DELETE") }),
        )
        .route("/v1/agents/{name}/history", get(agents::history))
        .route(
            "/v1/agents/{name}/discover",
            post(capabilities::discover).fallback(|| async { wrong_method_for("POST") }),
        )
        .route("/v1/experiments", get(experiments::report))
        .route(
            "/v1/experiments/{name}",
            delete(experiments::reset).fallback(deletes),
        )
        .route("/capabilities", get(capabilities::ours))
        .route("/v1/audit/{day}", get(audit::show))
        .route("/v1/audit/{day}/verify", get(audit::verify))
        .method_not_allowed_fallback(wrong_method)
        .fallback(not_found)
        .with_state(app)
}

/// All functions on one port.
pub fn routes(app: Arc<App>) -> Router {
    let chat = chat_routes(Arc::clone(&app)).reset_fallback();
    let api = api_routes(Arc::clone(&app)).reset_fallback();
    let metrics = Router::new()
        .route("/metrics", get(metrics::metrics))
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(&app));
    health_routes(app).merge(chat).merge(api).merge(metrics)
}

async fn not_found() -> ApiError {
    Failure::new(
        Code::NotFound,
        "there is nothing at this path",
        sentences::nothing_here(),
    )
    .into()
}

async fn wrong_method() -> ApiError {
    wrong_method_for("GET")
}

fn wrong_method_for(allowed: &'static str) -> ApiError {
    let failure = Failure::new(
        Code::MethodNotAllowed,
        format!("this path takes {allowed} only"),
        sentences::wrong_use(),
    );
    ApiError::from(failure).allow(allowed)
}

#[expect(clippy::disallowed_methods, reason = "the door is where time enters")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn now() -> Timestamp {
    clock().seconds()
}

/// The wall clock, for those who are told the time.
pub fn clock() -> Millis {
    let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH);
    Millis(u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
}
