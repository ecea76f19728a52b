use super::*;

fn check(expression: &str, expected: Result<&str, Error>) {
    let value = evaluate(expression).map(show);
    assert_eq!(value, expected.map(str::to_owned), "{expression}");
}

#[test]
fn arithmetic_is_computed() {
    check("2 + 2 * 3", Ok("8"));
    check("(2 + 2) * 3", Ok("12"));
    check("2 ^ 3 ^ 2", Ok("512"));
    check("-2^2", Ok("-4"));
    check("2 ^ -1", Ok("0.5"));
    check("2 * -3", Ok("-6"));
    check("--2", Ok("2"));
    check("10 - 4 - 3", Ok("3"));
    check("17 % 5", Ok("2"));
    check("0.1 + 0.2", Ok("0.30000000000000004"));
    check("sqrt(16) + abs(-3)", Ok("7"));
    check("sin(0)^2 + cos(0)^2", Ok("1"));
    check("sin(5000)", Ok(&5000_f64.sin().to_string()));
    check("2 * pi", Ok("6.283185307179586"));
    check("2 ** 100", Ok("1.2676506002282294e30"));
    check("0 * -1", Ok("0"));
}

#[test]
fn nonsense_is_an_error() {
    check("1 / 0", Err(Error::DivisionByZero));
    check("5 % (2 - 2)", Err(Error::DivisionByZero));
    check("0 ^ -1", Err(Error::DivisionByZero));
    check("sqrt(-1)", Err(Error::Undefined));
    check("10 ^ 1000", Err(Error::Undefined));
    check("2 + * 3", Err(Error::Unexpected("*".to_owned())));
    check("2 3", Err(Error::Unexpected("3".to_owned())));
    check("(2 + 3", Err(Error::Incomplete));
    check("2 +", Err(Error::Incomplete));
    check("", Err(Error::Incomplete));
    check("cake + 1", Err(Error::Unexpected("cake".to_owned())));
    check(&"(".repeat(10_000), Err(Error::TooDeep));
    check(&"-".repeat(10_000), Err(Error::TooDeep));
}

#[test]
fn arithmetic_is_found_in_text() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(find(text).as_deref(), expected, "{text}");
    };
    check("What is 2+2 *3?", Some("2 + 2 * 3"));
    check("calculate sin(5000), please.", Some("sin(5000)"));
    check("What is the sinus of 5678?", Some("sin(5678)"));
    check("the square root of 16 plus 1", Some("sqrt(16) + 1"));
    check("How much is 15% of 200", Some("15 / 100 * 200"));
    check("compute -(2 - 3.5) × 4.", Some("-(2 - 3.5) * 4"));
    check("divide: 10 divided by 4", Some("10 / 4"));
    check("add John and 2 more", None);
    check("covid-19 in 2020", None);
    check("", None);
}
