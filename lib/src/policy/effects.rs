//! What a request would do to the world: the registry says the most, the router and the words themselves say the rest.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::domain::agent::{AgentCard, Approval, Effect};
use crate::domain::plan::Assignment;

/// Words that ask for what cannot be undone, as they are said to somebody who is to do it.
const IRREVERSIBLE: [(&str, &str); 6] = [
    (
        "English",
        "delete remove erase purge wipe destroy cancel revoke terminate deactivate overwrite send publish pay \
        transfer refund",
    ),
    (
        "Ukrainian",
        "видали видаліть видалити вилучи вилучіть вилучити зітри зітріть стерти знищ знищіть знищити скасуй \
        скасуйте скасувати відклич відкличте відкликати надішли надішліть надіслати відправ відправте \
        відправити опублікуй опублікуйте опублікувати сплати сплатіть сплатити оплати оплатіть оплатити \
        перекажи перекажіть переказати",
    ),
    (
        "German",
        "lösche lösch löschen entferne entfernen vernichte vernichten storniere stornieren widerrufe widerrufen \
        kündige kündigen sende senden schicke schicken veröffentliche veröffentlichen bezahle bezahlen \
        überweise überweisen deaktiviere deaktivieren",
    ),
    (
        "French",
        "supprime supprimez supprimer efface effacez effacer détruis détruisez détruire annule annulez annuler \
        révoque révoquez révoquer envoie envoyez envoyer publie publiez publier paie payez payer transfère \
        transférez transférer",
    ),
    (
        "Spanish",
        "elimina elimine eliminar borra borre borrar destruye destruya destruir cancela cancele cancelar revoca \
        revoque revocar envía envíe enviar publica publique publicar paga pague pagar transfiere transfiera \
        transferir",
    ),
    (
        "Polish",
        "usuń usunąć skasuj skasować zniszcz zniszczyć anuluj anulować odwołaj odwołać wyślij wysłać opublikuj \
        opublikować zapłać zapłacić przelej przelać",
    ),
];

/// What a request to this agent would do: never more than the registry says the agent can. Of the router's judgement and
/// of the words themselves the worse counts.
pub fn judged(card: &AgentCard, assignment: &Assignment, request: &str) -> Effect {
    let told = [Some(request), assignment.instructions.as_deref()];
    let worded = if told.into_iter().flatten().any(asks_for_what_stays) {
        Effect::Irreversible
    } else {
        Effect::None
    };
    assignment
        .effect
        .unwrap_or(Effect::None)
        .max(worded)
        .min(card.effect)
}

/// Whether the user must approve a request before this agent gets it.
pub fn needs_approval(card: &AgentCard, assignment: &Assignment, request: &str) -> bool {
    match card.approval {
        Approval::Always => true,
        Approval::Irreversible => judged(card, assignment, request) == Effect::Irreversible,
        Approval::Never => false,
    }
}

fn asks_for_what_stays(text: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let words = IRREVERSIBLE.iter();
        words
            .flat_map(|(_, words)| words.split_whitespace())
            .collect()
    });
    let mut words = text.split(|letter: char| !letter.is_alphanumeric());
    words.any(|word| WORDS.contains(&*word.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use Effect::{Irreversible, None as Nothing, Reversible};

    use super::*;
    use crate::domain::agent::{Endpoint, Protocol};

    #[test]
    fn what_cannot_be_undone_is_judged_by_the_worst_that_is_said() {
        let check = |may: Effect, said: Option<Effect>, request: &str, expected: bool| {
            let card = AgentCard {
                effect: may,
                approval: Approval::Irreversible,
                ..AgentCard::new("UMS", Protocol::Dial, Endpoint::Deployment("u".into()))
            };
            let assignment = Assignment {
                effect: said,
                ..Assignment::plain(&card.id)
            };
            let needs = needs_approval(&card, &assignment, request);
            assert_eq!(needs, expected, "{may:?} {said:?} {request:?}");
        };
        check(Irreversible, None, "Delete user Bob", true);
        check(Irreversible, Some(Nothing), "Delete user Bob", true);
        check(Irreversible, None, "Видаліть Івана", true);
        check(Irreversible, None, "List the users", false);
        check(Irreversible, None, "Which users were deleted?", false);
        check(Irreversible, Some(Irreversible), "Get rid of Bob", true);
        check(Irreversible, Some(Reversible), "Create user Bob", false);
        check(Reversible, Some(Irreversible), "Delete user Bob", false);
        check(Nothing, Some(Irreversible), "Delete user Bob", false);
    }

    #[test]
    fn an_agent_may_always_need_approval_or_never() {
        let needs = |approval| {
            let card = AgentCard {
                approval,
                ..AgentCard::new("UMS", Protocol::Dial, Endpoint::Deployment("u".into()))
            };
            let plain = Assignment::plain(&card.id);
            ["Delete Bob", "Hi"].map(|request| needs_approval(&card, &plain, request))
        };
        assert_eq!(needs(Approval::Always), [true, true]);
        assert_eq!(needs(Approval::Irreversible), [true, false]);
        assert_eq!(needs(Approval::Never), [false, false]);
    }
}
