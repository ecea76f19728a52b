//! What operators see, from the environment: the variables of OpenTelemetry, under their own names and in their own words.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::parse::{list, origin, parsed};
use super::{Env, Error};
use crate::domain::ids::Secret;
use crate::domain::trace::Collector;

/// Where spans are sent: nowhere, unless an address is set.
pub fn collector(env: &Env) -> Result<Option<Collector>, Error> {
    let base = origin(env, "OTEL_EXPORTER_OTLP_ENDPOINT")?;
    // The one for traces alone is taken as it is.
    let whole = origin(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")?;
    let Some(url) = whole.or(base.map(|base| format!("{base}/v1/traces"))) else {
        return Ok(None);
    };
    let timeout = parsed(
        env,
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        Duration::from_secs(1),
        "milliseconds, from 1 to 60000",
        |text| {
            let millis = text.parse().ok();
            let millis = millis.filter(|millis| (1..=60_000).contains(millis));
            millis.map(Duration::from_millis)
        },
    )?;
    Ok(Some(Collector {
        url,
        headers: headers(env)?,
        timeout,
        service: (env.get("OTEL_SERVICE_NAME"))
            .unwrap_or("mas-coordinator")
            .to_owned(),
        share: share(env, "OTEL_TRACES_SAMPLER_ARG")?,
    }))
}

/// `name=value` pairs, values percent-encoded. They are credentials: a wrong one is not shown.
fn headers(env: &Env) -> Result<Vec<(String, Secret)>, Error> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let pairs = list(env.get(NAME).unwrap_or_default()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let good = !name.is_empty() && name.bytes().all(plain) && !value.contains(char::is_control);
        good.then(|| (name, Secret::new(&value)))
    });
    pairs.collect::<Option<_>>().ok_or_else(|| Error::Refused {
        name: NAME,
        problem: "expected name=value pairs, separated by commas, with the values percent-encoded"
            .into(),
    })
}

/// A share from 0 to 1; everything where nothing is set.
pub fn share(env: &Env, name: &'static str) -> Result<f64, Error> {
    parsed(env, name, 1.0, "a share from 0 to 1, such as 0.1", |text| {
        let share = text.parse().ok();
        share.filter(|share| (0.0..=1.0).contains(share))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Option<Collector>, String> {
        collector(&Env::from(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_are_sent_nowhere_unless_an_address_is_set() {
        assert!(read([("OTEL_SERVICE_NAME", "x")]).unwrap().is_none());
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");
        let found = read([base]).unwrap().unwrap();
        assert_eq!(found.url, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(found.timeout, Duration::from_secs(1));
        assert_eq!((&*found.service, found.share), ("mas-coordinator", 1.0));
        assert!(found.headers.is_empty());
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://x.example/in");
        let found = read([base, whole]).unwrap().unwrap();
        assert_eq!(found.url, "https://x.example/in");
    }

    #[test]
    fn the_other_variables_say_how() {
        let found = read([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "API-Key=a%20b, x-tenant = t"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.timeout, Duration::from_millis(250));
        assert_eq!((&*found.service, found.share), ("mine", 0.25));
        let headers: Vec<_> = (found.headers.iter())
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(headers, [("api-key", "a b"), ("x-tenant", "t")]);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_credential_is_shown() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        for (name, value, expected) in [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "milliseconds"),
            ("OTEL_TRACES_SAMPLER_ARG", "2", "a share"),
            ("OTEL_TRACES_SAMPLER_ARG", "nan", "a share"),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "localhost:4318",
                "an address",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "MARK", "name=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=MARK", "name=value"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=MARK%0d", "name=value"),
        ] {
            let problem = read([endpoint, (name, value)]).unwrap_err();
            assert!(
                problem.contains(name) && problem.contains(expected),
                "{problem}"
            );
            assert!(!problem.contains("MARK"), "{problem}");
        }
    }
}
