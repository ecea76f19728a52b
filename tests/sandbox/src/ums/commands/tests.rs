use super::*;

fn check(message: &str, expected: &[Command]) {
    assert_eq!(parse(message), expected, "{message}");
}

fn named(name: &str) -> Who {
    Who::Named(name.to_owned())
}

fn create(name: &str, email: Option<&str>, department: Option<&str>) -> Command {
    Command::Create {
        name: name.to_owned(),
        email: email.map(str::to_owned),
        department: department.map(str::to_owned),
    }
}

fn list(department: Option<&str>) -> Command {
    Command::List {
        department: department.map(str::to_owned),
    }
}

fn update(who: Who, change: Change) -> Command {
    Command::Update { who, change }
}

#[test]
fn users_are_created() {
    check(
        "create user andrej popov",
        &[create("Andrej Popov", None, None)],
    );
    check(
        "Please add a new user Andrej Popov with email andrej@example.com in engineering.",
        &[create(
            "Andrej Popov",
            Some("andrej@example.com"),
            Some("engineering"),
        )],
    );
    check(
        "Can you create a user named J. Smith, email j@x.org, in the Sales department?",
        &[create("J Smith", Some("j@x.org"), Some("sales"))],
    );
    check(
        "Add Bob Stone to our system",
        &[create("Bob Stone", None, None)],
    );
}

#[test]
fn users_are_found() {
    for question in [
        "Do we have John Doe in our system?",
        "Is there a user called John Doe?",
        "find john doe",
        "Who is John Doe?",
        "tell me about John Doe",
        "Search for user John Doe",
        "show me John Doe's details",
    ] {
        check(question, &[Command::Find(named("John Doe"))]);
    }
    check(
        "find the user with email a@b.org",
        &[Command::Find(Who::Email("a@b.org".to_owned()))],
    );
    check("show him", &[Command::Find(Who::Last)]);
}

#[test]
fn users_are_listed() {
    check("list all users", &[list(None)]);
    check("How many users do we have?", &[list(None)]);
    check(
        "Show all users in engineering",
        &[list(Some("engineering"))],
    );
    check("Who works in the sales team?", &[list(Some("sales"))]);
    check("do we have any users in our system?", &[list(None)]);
}

#[test]
fn users_are_updated() {
    let email = |email: &str| Change::Email(email.to_owned());
    check(
        "update John Doe's email to j@x.org",
        &[update(named("John Doe"), email("j@x.org"))],
    );
    check(
        "change her email to mary@x.org.",
        &[update(Who::Last, email("mary@x.org"))],
    );
    check(
        "Change the email of Ann Lee to ann@x.org",
        &[update(named("Ann Lee"), email("ann@x.org"))],
    );
    check(
        "change a@b.org to c@d.org",
        &[update(Who::Email("a@b.org".to_owned()), email("c@d.org"))],
    );
    check(
        "move Ann Lee to sales",
        &[update(
            named("Ann Lee"),
            Change::Department("sales".to_owned()),
        )],
    );
    check(
        "set his department to HR",
        &[update(Who::Last, Change::Department("hr".to_owned()))],
    );
    check(
        "rename John to Jon Doe",
        &[update(named("John"), Change::Name("Jon Doe".to_owned()))],
    );
}

#[test]
fn users_are_deleted() {
    check(
        "delete user Mary Major",
        &[Command::Delete(named("Mary Major"))],
    );
    check("remove her", &[Command::Delete(Who::Last)]);
    check("please delete that user", &[Command::Delete(Who::Last)]);
    check(
        "delete all users",
        &[Command::Unclear("delete all users".to_owned())],
    );
}

#[test]
fn a_message_may_hold_several_commands() {
    check(
        "Create user Bob Stone, then find Ann Lee and delete him; list users. Remove Mary",
        &[
            create("Bob Stone", None, None),
            Command::Find(named("Ann Lee")),
            Command::Delete(Who::Last),
            list(None),
            Command::Delete(named("Mary")),
        ],
    );
    check(
        "add Bob Stone\nand then show all users",
        &[create("Bob Stone", None, None), list(None)],
    );
}

#[test]
fn what_is_no_command_is_said_to_be_unclear() {
    check("hello there", &[Command::Unclear("hello there".to_owned())]);
    check("", &[Command::Unclear(String::new())]);
    check(
        "change his email to nothing",
        &[Command::Unclear("change his email to nothing".to_owned())],
    );
}
