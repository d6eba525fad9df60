#include "host_names.h"

#include <condition_variable>
#include <utility>

#include "postern/io/clock.h"
#include "privileges.h"

namespace postern::app {
namespace {

using Asked = std::map<names::Question, std::vector<std::size_t>>;

/// What the snapshot's pools ask, and which do.
Asked asked_by(const shard::Snapshot& snapshot) {
    Asked asked;
    for (std::size_t i = 0; i < snapshot.pools.size(); ++i) {
        for (names::Question& question : shard::questions_of(snapshot.pools[i])) {
            asked[std::move(question)].push_back(i);
        }
    }
    return asked;
}

std::vector<names::Question> questions_in(const Asked& asked) {
    std::vector<names::Question> questions;
    for (const auto& [question, pools] : asked) {
        questions.push_back(question);
    }
    return questions;
}

std::string text_of(const names::Question& question) {
    return question.kind == names::Question::Kind::mx ? "mx:" + question.name : question.name;
}

}  // namespace

void HostNames::use(std::shared_ptr<const shard::Snapshot> snapshot) {
    std::vector<names::Question> questions;
    {
        const std::lock_guard lock(mutex_);
        snapshot_ = std::move(snapshot);
        pools_ = asked_by(*snapshot_);
        questions = questions_in(pools_);
        std::erase_if(answers_, [this](const auto& one) { return !pools_.contains(one.first); });
        std::vector<bool> supplied(snapshot_->pools.size());
        for (const auto& [question, answer] : answers_) {
            for (const std::size_t pool : pools_[question]) {
                if (!supplied[pool]) {
                    supplied[pool] = true;
                    supply(pool);
                }
            }
        }
    }
    if (questions.empty()) {
        resolver_.reset();
        return;
    }
    if (resolver_ == nullptr) {
        names::Resolver::Options options;
        options.on_thread = forget_capabilities;  // it reads what strangers' servers send
        auto started = names::Resolver::start(
            options, io::monotonic_time, [this](const auto& question, const auto& answer) {
                heard(question, answer);
            });
        if (!started) {
            tell_("", false, started.error().text + "; reload to try again");
            return;
        }
        resolver_ = std::move(*started);
    }
    resolver_->watch(std::move(questions));
}

void HostNames::heard(
    const names::Question& question, std::shared_ptr<const names::Answer> answer) {
    const std::lock_guard lock(mutex_);
    const auto asking = pools_.find(question);
    if (asking == pools_.end()) {
        return;  // of a snapshot that was in force before
    }
    tell_(text_of(question), answer->kind == names::Answer::Kind::hosts, names::describe(*answer));
    answers_[question] = std::move(answer);
    for (const std::size_t pool : asking->second) {
        supply(pool);
    }
}

/// With mutex_ held.
void HostNames::supply(std::size_t pool) {
    found_(
        *snapshot_,
        pool,
        shard::addresses_of(snapshot_->pools[pool], answers_, snapshot_->ourselves));
}

std::size_t HostNames::unresolved() const {
    const std::lock_guard lock(mutex_);
    std::size_t count = pools_.size() - answers_.size();
    for (const auto& [question, answer] : answers_) {
        count += answer->kind == names::Answer::Kind::hosts ? 0 : 1;
    }
    return count;
}

base::Result<shard::Answers> resolve_now(const shard::Snapshot& snapshot) {
    const Asked asked = asked_by(snapshot);
    shard::Answers answers;
    if (asked.empty()) {
        return answers;
    }
    std::mutex mutex;
    std::condition_variable changed;
    auto resolver = names::Resolver::start(
        {}, io::monotonic_time, [&](const auto& question, const auto& answer) {
            const std::lock_guard lock(mutex);
            answers[question] = answer;
            changed.notify_all();
        });
    if (!resolver) {
        return resolver.error();
    }
    (*resolver)->watch(questions_in(asked));
    {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return answers.size() == asked.size(); });
    }
    resolver->reset();
    return answers;
}

}  // namespace postern::app
