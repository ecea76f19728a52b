//! The users of the make-believe system, and what is said when commands are carried out.

use std::fmt::Write;

use super::commands::{Change, Command, Who};

/// The user that a conversation last spoke of, who may be gone by now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subject {
    id: u32,
    name: String,
}

pub(super) struct People {
    users: Vec<User>,
    last_id: u32,
}

#[derive(Clone)]
struct User {
    id: u32,
    name: String,
    email: Option<String>,
    department: Option<String>,
}

impl People {
    pub(super) fn seeded() -> Self {
        let mut people = Self {
            users: Vec::new(),
            last_id: 0,
        };
        for (name, email, department) in [
            ("John Doe", "john.doe@example.com", "engineering"),
            ("Mary Major", "mary.major@example.com", "sales"),
            ("Ann Lee", "ann.lee@example.com", "marketing"),
        ] {
            people.insert(name, Some(email), Some(department));
        }
        people
    }

    /// Carries the commands out in order and tells about each.
    pub(super) fn perform(
        &mut self,
        commands: &[Command],
        subject: &mut Option<Subject>,
    ) -> String {
        let told = commands
            .iter()
            .map(|command| self.perform_one(command, subject));
        told.collect::<Vec<_>>().join("\n\n")
    }

    fn perform_one(&mut self, command: &Command, subject: &mut Option<Subject>) -> String {
        let told = match command {
            Command::Create {
                name,
                email,
                department,
            } => self.create(name, email.as_deref(), department.as_deref(), subject),
            Command::List { department } => Ok(self.list(department.as_deref())),
            Command::Find(who) => self.find(who, subject),
            Command::Update { who, change } => self.update(who, change, subject),
            Command::Delete(who) => self.delete(who, subject),
            Command::Unclear(text) => Err(format!(
                "I manage users: I can create, find, list, update and delete them. I did not understand: \"{text}\""
            )),
        };
        let (Ok(told) | Err(told)) = told;
        told
    }

    fn create(
        &mut self,
        name: &str,
        email: Option<&str>,
        department: Option<&str>,
        subject: &mut Option<Subject>,
    ) -> Result<String, String> {
        let taken = self.users.iter().find(|user| match email {
            Some(_) => user.has_email(email),
            None => user.name.eq_ignore_ascii_case(name),
        });
        if let Some(user) = taken {
            *subject = Some(user.subject());
            return Err(format!("There is already a user {}.", user.tell()));
        }
        let user = self.insert(name, email, department);
        *subject = Some(user.subject());
        Ok(format!("Created user {}.", user.tell()))
    }

    fn list(&self, department: Option<&str>) -> String {
        let wanted =
            |user: &&User| department.is_none() || user.department.as_deref() == department;
        let users: Vec<_> = self.users.iter().filter(wanted).collect();
        let place = department.map_or_else(String::new, |department| format!(" in {department}"));
        match users.as_slice() {
            [] => format!("There are no users{place}."),
            [_] => format!("There is 1 user{place}:\n\n{}", table(&users)),
            several => format!(
                "There are {} users{place}:\n\n{}",
                several.len(),
                table(&users)
            ),
        }
    }

    fn find(&self, who: &Who, subject: &mut Option<Subject>) -> Result<String, String> {
        let found = self.matching(who, subject.as_ref())?;
        match found.as_slice() {
            [user] => {
                *subject = Some(user.subject());
                Ok(format!("Found {}.", user.tell()))
            }
            several => Ok(format!(
                "Found {} users:\n\n{}",
                several.len(),
                table(several)
            )),
        }
    }

    fn update(
        &mut self,
        who: &Who,
        change: &Change,
        subject: &mut Option<Subject>,
    ) -> Result<String, String> {
        let user = self.one(who, subject.as_ref())?;
        let id = user.id;
        if let Change::Email(email) = change {
            let owner = self.users.iter().find(|user| user.has_email(Some(email)));
            if let Some(owner) = owner.filter(|owner| owner.id != id) {
                return Err(format!("That email already belongs to {}.", owner.tell()));
            }
        }
        let user = self.users.iter_mut().find(|user| user.id == id);
        let user = user.ok_or("That user is gone.")?;
        let was = user.name.clone();
        let what = match change {
            Change::Email(email) => {
                user.email = Some(email.clone());
                format!("the email is now {email}")
            }
            Change::Department(department) => {
                user.department = Some(department.clone());
                format!("the department is now {department}")
            }
            Change::Name(name) => {
                user.name.clone_from(name);
                format!("the name is now **{name}**")
            }
        };
        *subject = Some(user.subject());
        Ok(format!("Updated **{was}**: {what}."))
    }

    fn delete(&mut self, who: &Who, subject: &mut Option<Subject>) -> Result<String, String> {
        let user = self.one(who, subject.as_ref())?.clone();
        self.users.retain(|other| other.id != user.id);
        *subject = Some(user.subject());
        Ok(format!("Deleted user **{}** (id {}).", user.name, user.id))
    }

    /// The one user meant, for commands that change something.
    fn one(&self, who: &Who, subject: Option<&Subject>) -> Result<&User, String> {
        let found = self.matching(who, subject)?;
        match found.as_slice() {
            [user] => Ok(user),
            several => Err(format!("Which user do you mean?\n\n{}", table(several))),
        }
    }

    /// At least one user, or a sentence that says why there is none.
    fn matching(&self, who: &Who, subject: Option<&Subject>) -> Result<Vec<&User>, String> {
        let (found, missing): (Vec<&User>, String) = match who {
            Who::Last => {
                let subject = subject.ok_or("Which user do you mean? Please give me a name.")?;
                let same = |user: &&User| user.id == subject.id;
                let missing = format!("There is no user **{}** any more.", subject.name);
                (self.users.iter().filter(same).collect(), missing)
            }
            Who::Email(email) => {
                let same = |user: &&User| user.has_email(Some(email));
                let missing = format!("There is no user with the email {email}.");
                (self.users.iter().filter(same).collect(), missing)
            }
            Who::Named(name) => {
                let missing = format!("There is no user **{name}** in the system.");
                (self.named(name), missing)
            }
        };
        if found.is_empty() {
            Err(missing)
        } else {
            Ok(found)
        }
    }

    /// Users of exactly this name, else those whose name has all its words.
    fn named(&self, name: &str) -> Vec<&User> {
        let wanted = name.to_lowercase();
        let users = self.users.iter();
        let (exact, others): (Vec<_>, Vec<_>) =
            users.partition(|user| user.name.to_lowercase() == wanted);
        if !exact.is_empty() {
            return exact;
        }
        let has_all = |user: &&User| {
            let known = user.name.to_lowercase();
            let known: Vec<_> = known.split(' ').collect();
            wanted.split(' ').all(|word| known.contains(&word))
        };
        others.into_iter().filter(has_all).collect()
    }

    fn insert(&mut self, name: &str, email: Option<&str>, department: Option<&str>) -> User {
        self.last_id += 1;
        let user = User {
            id: self.last_id,
            name: name.to_owned(),
            email: email.map(str::to_owned),
            department: department.map(str::to_owned),
        };
        self.users.push(user.clone());
        user
    }
}

impl User {
    /// "**John Doe** (id 1), john.doe@example.com, engineering"
    fn tell(&self) -> String {
        let details = [self.email.as_deref(), self.department.as_deref()];
        let mut told = format!("**{}** (id {})", self.name, self.id);
        for detail in details.into_iter().flatten() {
            told.push_str(", ");
            told.push_str(detail);
        }
        told
    }

    fn subject(&self) -> Subject {
        Subject {
            id: self.id,
            name: self.name.clone(),
        }
    }

    fn has_email(&self, email: Option<&str>) -> bool {
        match (&self.email, email) {
            (Some(known), Some(email)) => known.eq_ignore_ascii_case(email),
            _ => false,
        }
    }
}

fn table(users: &[&User]) -> String {
    let mut table = "| id | name | email | department |\n|---|---|---|---|".to_owned();
    for user in users {
        let email = user.email.as_deref().unwrap_or("–");
        let department = user.department.as_deref().unwrap_or("–");
        // writing to a string cannot fail
        let _ = write!(
            table,
            "\n| {} | {} | {email} | {department} |",
            user.id, user.name
        );
    }
    table
}
