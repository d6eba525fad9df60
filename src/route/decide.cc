#include "postern/route/decide.h"

#include <strings.h>

#include <algorithm>

#include "postern/mail/local_part.h"

namespace postern::route {

namespace {

/// Puts texts one behind the other into the decision's memory, cut where it ends.
class Writer {
   public:
    explicit Writer(DecisionText& memory) : memory_(memory) {}

    /// Printable ASCII as it is, other octets as "?": what a reply line may hold.
    Writer& printable(std::string_view piece) {
        for (char c : piece) {
            put(c >= ' ' && c <= '~' ? c : '?');
        }
        return *this;
    }

    Writer& exact(std::string_view piece) {
        for (char c : piece) {
            put(c);
        }
        return *this;
    }

    std::string_view text() const { return {memory_.data(), size_}; }

   private:
    void put(char c) {
        if (size_ < memory_.size()) {
            memory_[size_++] = c;
        }
    }

    DecisionText& memory_;
    std::size_t size_ = 0;
};

constexpr mail::Reply no_postmaster{550, {5, 1, 1}, "no postmaster here"};
constexpr mail::Reply no_way{450, {4, 3, 5}, "no rule leads anywhere any more"};
constexpr mail::Reply routed_local_part{
    553, {5, 1, 3}, "a local part may not hold a route (@ % ! : or a leading / or |)"};

bool is_postmaster(const RecipientParts& recipient) {
    mail::LocalPartKey key;
    return mail::make_local_part_key(recipient.local_part, key) && key.view() == "postmaster";
}

bool is_ours(const RelaySettings& settings, std::string_view key) {
    return key.empty() || std::find(settings.own_keys.begin(), settings.own_keys.end(), key) !=
                              settings.own_keys.end();
}

mail::Reply denied(const RelaySettings& settings, std::string_view address, DecisionText& text) {
    std::string_view words =
        Writer(text).printable("<").printable(address).printable(">: relaying denied").text();
    return settings.soft_reject ? mail::Reply{450, {4, 7, 1}, words}
                                : mail::Reply{550, {5, 7, 1}, words};
}

/// What a rule that refuses says. RFC 3463: X.1.1 is about the mailbox, X.1.2 about the system.
mail::Reply refusal(const Table& table, const Target& target, std::uint32_t rule) {
    std::string_view words = target.text;
    if (target.kind == TargetKind::defer) {
        return {450, {4, 1, 2}, words.empty() ? "mail is not taken at this time" : words};
    }
    std::uint16_t detail = table.text_of(rule).kind == Pattern::user ? 1 : 2;
    return {550, {5, 1, detail}, words.empty() ? "mail is not taken here" : words};
}

/// Who is meant: the recipient, or whom postmaster's mail goes to.
struct Meant {
    bool postmaster;
    bool redirected;
    std::string_view address;
    Query query;
};

Meant meant_by(const RelaySettings& settings, const RecipientParts& recipient) {
    Meant meant{
        is_ours(settings, recipient.domain_key) && is_postmaster(recipient),
        false,
        recipient.address,
        {recipient.domain_key, recipient.local_part}};
    if (meant.postmaster && !settings.postmaster.empty()) {
        meant.redirected = true;
        meant.address = settings.postmaster;
        meant.query = {settings.postmaster_key, meant.address.substr(0, meant.address.rfind('@'))};
    }
    return meant;
}

/// The address that the smart host is told; empty: the sender's own.
std::string_view outgoing_of(
    const Action& action, const Meant& meant, const RecipientParts& recipient, DecisionText& text) {
    if (!action.rewrite.empty()) {
        return Writer(text).exact(meant.query.local_part).exact("@").exact(action.rewrite).text();
    }
    return meant.address != recipient.address ? meant.address : std::string_view();
}

}  // namespace

Decision decide(
    const Table& table,
    const RelaySettings& settings,
    const RecipientParts& recipient,
    bool trusted,
    DecisionText& text) {
    const Meant meant = meant_by(settings, recipient);
    if (!meant.redirected && recipient.domain_key.empty()) {
        return {no_postmaster, {}, {}};
    }
    if (!trusted && !meant.postmaster && !settings.routed_local_parts &&
        mail::is_routed_local_part(recipient.local_part)) {
        return {routed_local_part, {}, {}};
    }
    const auto nobody = [&] {
        return meant.postmaster ? no_postmaster : denied(settings, recipient.address, text);
    };
    Match match = table.look_up(meant.query);
    if (!match.found()) {
        return {nobody(), {}, {}};
    }
    const Action& action = table.action(match.action);
    const Target& target = table.targets()[action.target];
    if (action.restricted && !trusted && !meant.redirected) {  // anyone may write to that one
        return {nobody(), match, {}};
    }
    if (target.kind == TargetKind::reject || target.kind == TargetKind::defer) {
        return {refusal(table, target, match.rule), match, {}};
    }
    if (const Recipients* list = table.recipients_of(action.target)) {
        // Either as it was named, or as the smart host is going to be told.
        const auto& [domain_key, local_part] = meant.query;
        const bool listed = list->contains(local_part, domain_key) ||
                            (!action.rewrite.empty() && list->contains(local_part, action.rewrite));
        if (!listed) {
            return {unlisted_recipient, match, {}, true};
        }
    }
    return {{}, match, outgoing_of(action, meant, recipient, text)};
}

Decision follow(
    const Table& table,
    const RelaySettings& settings,
    const RecipientParts& recipient,
    DecisionText& text) {
    const Meant meant = meant_by(settings, recipient);
    if (meant.query.domain_key.empty()) {
        return {no_way, {}, {}};
    }
    const Match match = table.look_up(meant.query);
    if (!match.found()) {
        return {no_way, {}, {}};
    }
    const Action& action = table.action(match.action);
    const Target& target = table.targets()[action.target];
    if (target.kind == TargetKind::reject || target.kind == TargetKind::defer) {
        return {refusal(table, target, match.rule), match, {}};
    }
    return {{}, match, outgoing_of(action, meant, recipient, text)};
}

}  // namespace postern::route
