#include "logins.h"

#include <cstring>
#include <utility>

#include "postern/base/secret.h"
#include "postern/io/clock.h"
#include "postern/smtp/answer.h"

namespace postern::shard {
namespace {

constexpr mail::Reply welcome{235, {2, 7, 0}, "authentication succeeded"};
constexpr mail::Reply too_many_guesses{
    421, {4, 7, 0}, "too many wrong passwords from your address, try again later"};

const mail::Reply& reply_of(smtp::Answer answer) {
    return smtp::answer_row(answer).reply;
}

}  // namespace

Logins::Check::Check(
    Logins& its_owner,
    std::shared_ptr<const auth::Passwords> its_passwords,
    std::uint64_t its_client,
    const smtp::Credentials& credentials)
    : io::Timer([](io::Timer& self) {
          auto& check = static_cast<Check&>(self);
          check.owner.answer(check, reply_of(smtp::Answer::auth_failed));
      }),
      owner(its_owner),
      passwords(std::move(its_passwords)),
      client(its_client),
      name_size(static_cast<std::uint16_t>(credentials.name.size())),
      password_size(static_cast<std::uint16_t>(credentials.password.size())) {
    std::memcpy(name.data(), credentials.name.data(), name_size);
    std::memcpy(password.data(), credentials.password.data(), password_size);
}

void Logins::Check::run(auth::Hasher& hasher) {
    // Of many guesses that came at once, those behind the limit are not looked at either.
    if (wanted) {
        if (owner.guesses_.exhausted(client, io::monotonic_time())) {
            result = Result::exhausted;
        } else {
            result =
                passwords->check(hasher, {name.data(), name_size}, {password.data(), password_size})
                    ? Result::right
                    : Result::wrong;
        }
    }
    base::wipe(password);
    owner.mailbox_.post(*this);
}

Logins::Logins(
    io::Ring& ring,
    io::Timers& timers,
    io::Mailbox& mailbox,
    Asker& asker,
    auth::Checker& checker,
    shared::Guesses& guesses)
    : ring_(ring),
      timers_(timers),
      mailbox_(mailbox),
      asker_(asker),
      checker_(checker),
      guesses_(guesses) {}

inbound::PasswordCheck* Logins::check(
    const std::shared_ptr<const auth::Passwords>& passwords,
    std::uint64_t client,
    const smtp::Credentials& credentials,
    mail::Reply& refusal) {
    if (guesses_.exhausted(client, ring_.now())) {
        refusal = too_many_guesses;
        return nullptr;
    }
    if (credentials.name.size() > auth::name_octets_max ||
        credentials.password.size() > auth::password_octets_max) {
        refusal = reply_of(smtp::Answer::auth_failed);  // nobody's
        return nullptr;
    }
    refusal = reply_of(smtp::Answer::auth_unavailable);
    Check* const check =
        passwords == nullptr ? nullptr : checks_.make(*this, passwords, client, credentials);
    if (check != nullptr && !checker_.post(*check)) {
        base::wipe(check->password);
        checks_.destroy(check);
        return nullptr;
    }
    return check;
}

void Logins::forget(inbound::PasswordCheck& password_check) {
    auto& check = static_cast<Check&>(password_check);
    if (check.hashing) {
        check.wanted = false;  // it comes back by and by
    } else {
        check.cancel();
        checks_.destroy(&check);
    }
}

void Logins::checked(Check& check) {
    check.hashing = false;
    // A guess counts, also of one who does not wait for what comes of it.
    const base::Duration held_back = check.result == Result::wrong
                                         ? guesses_.wrong(check.client, ring_.now())
                                         : base::Duration{};
    if (check.inbound_owner == nullptr) {
        checks_.destroy(&check);
        return;
    }
    switch (check.result) {
        case Result::right:
            answer(check, welcome);
            return;
        case Result::exhausted:
            answer(check, too_many_guesses);
            return;
        case Result::wrong:
            if (held_back == base::Duration{}) {
                answer(check, reply_of(smtp::Answer::auth_failed));
            } else {
                timers_.set(check, ring_.now() + held_back);
            }
            return;
        case Result::unknown:
            break;
    }
    POSTERN_ASSERT(false, "a check that somebody waits for has a result");
}

void Logins::answer(Check& check, const mail::Reply& reply) {
    asker_.authenticated(check, reply);
    checks_.destroy(&check);
}

std::uint64_t Logins::memory() {
    return std::uint64_t{checks_max} * base::ObjectPool<Check>::cell_octets();
}

}  // namespace postern::shard
