//! When a routing rule applies: an expression of the Common Expression Language, read once and tested on every request.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue};
use cel::common::types::{CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};

use super::situation::{MOST, QUERY_FOLDED, Situation, VARIABLES};

/// A longer condition is no rule but a program.
const LONGEST: usize = 2000;
/// How deep it may be nested: reading and testing it take stack for each level, and a stack that overflows ends the process.
const DEEPEST: u16 = 32;
/// How many parts of it may be looked at for one request; each takes well below a microsecond.
const DEAREST: usize = 5000;
/// `contains(query, "user")` and its like, which do not care for capitals, beside the language's own `query.contains("user")`.
const FOLDING: [&str; 3] = ["contains", "startsWith", "endsWith"];
/// What the language itself offers and is allowed here.
const FUNCTIONS: [&str; 12] = [
    "contains",
    "startsWith",
    "endsWith",
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "type",
    "dyn",
    "has",
];
/// Our own function, which nobody can write down.
const FOLD: &str = "@fold";

/// An expression that is true or false of a request.
#[derive(Clone)]
pub struct Condition {
    written: Arc<str>,
    expression: Arc<IdedExpr>,
}

/// What is wrong with an expression, and where: line and column count from 1, within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: usize,
    pub column: usize,
    pub problem: String,
}

/// The functions that conditions are tested with.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    let fold = environment.add_overload(FOLD, "fold_string", vec![STRING_TYPE], |args| {
        let text = args
            .first()
            .and_then(|text| text.downcast_ref::<CelString>());
        let text = text.map(|text| text.inner().to_lowercase());
        Ok(CowVal::owned(CelString::from(text.unwrap_or_default())))
    });
    // Only one of this name could be refused, and there is none.
    debug_assert!(fold.is_ok());
    Arc::new(environment)
});

impl Condition {
    /// Fails with what is wrong, where, and what is expected there.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let text = text.trim();
        let at_start = |problem: String| Mistake {
            line: 1,
            column: 1,
            problem,
        };
        if text.len() > LONGEST {
            let problem = format!("the condition is longer than {LONGEST} bytes");
            return Err(at_start(problem));
        }
        let parser = PrattParser::new().max_recursion_depth(DEEPEST);
        let mut expression = (parser.parse(text)).map_err(|errors| {
            let first = errors.errors.first();
            let (line, column) = first.map_or((1, 1), |error| error.pos);
            let problem = first.map_or("it cannot be read", |error| error.msg.as_str());
            placed(text, line, column, expected(problem))
        })?;
        let mut reader = Reader {
            text,
            bound: Vec::new(),
            depth: 0,
        };
        reader.check(&mut expression)?;
        if cost(&expression) > DEAREST {
            let problem = "the condition looks at too much for one request: fewer parts within `exists`, `all`, `map` or \
                           `filter` are expected";
            return Err(at_start(problem.into()));
        }
        let condition = Self {
            written: text.into(),
            expression: Arc::new(expression),
        };
        match condition.value(&Situation::sample()) {
            Ok(Value::Bool(_)) => Ok(condition),
            Ok(_) => Err(at_start(NO_ANSWER.into())),
            // What is wrong with the sample's values may be right with a request's.
            Err(error) if !is_mistake(&error) => Ok(condition),
            Err(error) => Err(at_start(said(&error))),
        }
    }

    /// As it is written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether it holds. Fails with why that cannot be said, without a word of what was asked.
    pub fn holds(&self, situation: &Situation<'_>) -> Result<bool, String> {
        match self.value(situation) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err(NO_ANSWER.into()),
            Err(error) => Err(said(&error)),
        }
    }

    fn value(&self, situation: &Situation<'_>) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(situation);
        Value::resolve(&self.expression, &context)
    }
}

const NO_ANSWER: &str = "the condition is neither true nor false, which is expected of it";

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Condition {}

/// What is wrong with every request, and not with one alone.
fn is_mistake(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::NoSuchOverload(_)
            | ExecutionError::NoSuchKey(_)
            | ExecutionError::UndeclaredReference(_)
            | ExecutionError::UnexpectedType { .. }
            | ExecutionError::NotSupportedAsMethod { .. }
    )
}

/// An error without any value: those are what people said.
fn said(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchOverload(overload) if overload.function() == FOLD => format!(
            "contains, startsWith and endsWith look into a text, found {}; `\"x\" in roles` looks into a list",
            overload.argument_types().join(", ")
        ),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(" and ");
            format!("{} cannot be used on {types}", sign(overload.function()))
        }
        ExecutionError::NoSuchKey(key) => format!("there is no field {key}"),
        ExecutionError::UndeclaredReference(name) => format!("there is no {name}"),
        ExecutionError::IndexOutOfBounds(_) => "the list has no element there".into(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".into()
        }
        ExecutionError::Overflow(..) => "a number is too large".into(),
        ExecutionError::FunctionError { function, .. } => format!("{function} failed"),
        _ => "its values do not fit together".into(),
    }
}

/// An operator as people write it.
fn sign(function: &str) -> &str {
    let sign = function.trim_matches('_');
    sign.strip_prefix('@').unwrap_or(sign).trim_matches('_')
}

/// A parser's words in ours: what is expected, and what was found.
fn expected(problem: &str) -> String {
    let plain = problem.trim_start_matches("Syntax error: ");
    let named = |what: &str| match what.trim_matches('\'') {
        "<EOF>" => "the end".to_owned(),
        "expression" => "an expression".to_owned(),
        _ => what.to_owned(),
    };
    let found = plain
        .strip_prefix("mismatched input ")
        .and_then(|rest| rest.split_once(" expecting "));
    match found {
        // What may go on after a complete expression is an operator.
        Some((found, "<EOF>")) => {
            format!(
                "expected an operator such as && or ||, or the end, found {}",
                named(found)
            )
        }
        Some((found, wanted)) => format!("expected {}, found {}", named(wanted), named(found)),
        None => plain.to_owned(),
    }
}

/// A parser counts columns in bytes.
fn placed(text: &str, line: isize, column: isize, problem: String) -> Mistake {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let bytes = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let of_line = text.lines().nth(line - 1).unwrap_or_default();
    let before = of_line.get(..bytes).unwrap_or(of_line);
    Mistake {
        line,
        column: before.chars().count() + 1,
        problem,
    }
}

/// Looks for names that nobody knows, and makes what does not care for capitals cheap.
struct Reader<'a> {
    text: &'a str,
    /// Names that stand for the elements of a list.
    bound: Vec<String>,
    depth: u16,
}

impl Reader<'_> {
    /// The parser itself counts some levels alone, and `1 + 1 + 1` has as many levels as terms.
    fn check(&mut self, expression: &mut IdedExpr) -> Result<(), Mistake> {
        if self.depth == DEEPEST {
            return Err(Mistake {
                line: 1,
                column: 1,
                problem: format!("the condition is nested deeper than {DEEPEST} levels"),
            });
        }
        self.depth += 1;
        self.part(expression)?;
        self.depth -= 1;
        Ok(())
    }

    fn part(&mut self, expression: &mut IdedExpr) -> Result<(), Mistake> {
        match &mut expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                let known = VARIABLES.contains(&name.as_str()) || self.bound.contains(name);
                let variables = || {
                    format!(
                        "there is no {name}, expected one of {}",
                        VARIABLES.join(", ")
                    )
                };
                if known {
                    Ok(())
                } else {
                    Err(self.at(name, variables()))
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => (list.elements.iter_mut()).try_for_each(|one| self.check(one)),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.check(&mut entry.key)?;
                        self.check(&mut entry.value)?;
                    }
                }
                Ok(())
            }
            Expr::Select(select) => self.check(&mut select.operand),
            Expr::Struct(made) => {
                let problem = format!("there is no type {}", made.type_name);
                Err(self.at(&made.type_name, problem))
            }
        }
    }

    fn comprehension(&mut self, over: &mut ComprehensionExpr) -> Result<(), Mistake> {
        self.check(&mut over.iter_range)?;
        let before = self.bound.len();
        self.bound.push(over.iter_var.clone());
        self.bound.extend(over.iter_var2.clone());
        self.bound.push(over.accu_var.clone());
        for part in [
            &mut over.accu_init,
            &mut over.loop_cond,
            &mut over.loop_step,
            &mut over.result,
        ] {
            self.check(part)?;
        }
        self.bound.truncate(before);
        Ok(())
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<(), Mistake> {
        let name = call.func_name.as_str();
        // Operators have names that nobody can write down.
        let known = FUNCTIONS.contains(&name) || name.contains(['_', '@', '!', '-']);
        if !known {
            let names: BTreeSet<&str> = FUNCTIONS.into_iter().collect();
            let names: Vec<&str> = names.into_iter().collect();
            let problem = format!(
                "there is no function {name}, expected one of {}",
                names.join(", ")
            );
            return Err(self.at(name, problem));
        }
        if let Some(target) = &mut call.target {
            self.check(target)?;
        }
        call.args.iter_mut().try_for_each(|one| self.check(one))?;
        if call.target.is_some() || !FOLDING.contains(&call.func_name.as_str()) {
            return Ok(());
        }
        let name = call.func_name.clone();
        match <[IdedExpr; 2]>::try_from(std::mem::take(&mut call.args)) {
            Ok([whole, part]) => {
                call.target = Some(Box::new(self.folded(whole, &name)?));
                call.args = vec![self.folded(part, &name)?];
                Ok(())
            }
            Err(_) => {
                let problem = format!("expected two texts, as in {name}(query, \"user\")");
                Err(self.at(&name, problem))
            }
        }
    }

    /// The same text in small letters: now, where it is known, or once for all rules.
    fn folded(&self, text: IdedExpr, function: &str) -> Result<IdedExpr, Mistake> {
        let expr = match text.expr {
            Expr::Literal(LiteralValue::String(text)) if text.inner().is_empty() => {
                return Err(self.at(function, "an empty text is in every query".into()));
            }
            Expr::Literal(LiteralValue::String(text)) => Expr::Literal(LiteralValue::String(
                CelString::from(text.inner().to_lowercase()),
            )),
            Expr::Ident(name) if name == "query" => Expr::Ident(QUERY_FOLDED.into()),
            expr => Expr::Call(CallExpr {
                func_name: FOLD.into(),
                target: None,
                args: vec![IdedExpr { id: text.id, expr }],
            }),
        };
        Ok(IdedExpr { id: text.id, expr })
    }

    /// The first place of a name that is no part of another one.
    fn at(&self, name: &str, problem: String) -> Mistake {
        let part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let whole = |at: usize| {
            let before = self.text.get(..at).unwrap_or_default();
            let after = self.text.get(at + name.len()..).unwrap_or_default();
            !before.ends_with(part) && !after.starts_with(part)
        };
        let found = (self.text.match_indices(name)).find(|(at, _)| whole(*at));
        let before = found.map_or("", |(at, _)| self.text.get(..at).unwrap_or_default());
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Mistake {
            line,
            column,
            problem,
        }
    }
}

/// How many parts are looked at for one request, at most.
fn cost(expression: &IdedExpr) -> usize {
    let all = |parts: &[IdedExpr]| parts.iter().map(cost).fold(0, usize::saturating_add);
    let parts = match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => 0,
        Expr::Call(call) => all(&call.args) + call.target.as_deref().map_or(0, cost),
        Expr::List(list) => all(&list.elements),
        Expr::Map(map) => (map.entries.iter())
            .map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => cost(&entry.key) + cost(&entry.value),
                EntryExpr::StructField(_) => 0,
            })
            .sum(),
        Expr::Select(select) => cost(&select.operand),
        Expr::Comprehension(over) => {
            let step = cost(&over.loop_cond).saturating_add(cost(&over.loop_step));
            cost(&over.iter_range)
                .saturating_add(cost(&over.accu_init))
                .saturating_add(cost(&over.result))
                .saturating_add(step.saturating_mul(length(&over.iter_range)))
        }
    };
    parts.saturating_add(1)
}

/// How many elements a list may have, at most.
fn length(list: &IdedExpr) -> usize {
    match &list.expr {
        Expr::List(list) => list.elements.len(),
        Expr::Map(map) => map.entries.len(),
        Expr::Comprehension(over) => length(&over.iter_range),
        Expr::Call(call) => {
            let parts = call.args.iter().chain(call.target.as_deref());
            parts.map(length).fold(0, usize::saturating_add)
        }
        Expr::Unspecified | Expr::Literal(_) => 0,
        Expr::Ident(_) | Expr::Select(_) | Expr::Struct(_) => MOST,
    }
}

#[cfg(test)]
mod tests;
