#pragma once

#include "postern/spool/spool.h"

namespace postern::spool {

struct Intake;

/// Copies messages out of segments that are being cleared. The worker's.
class Mover {
   public:
    explicit Mover(Spool::Implementation& spool) : spool_(spool) {}

    /// A round begins: all messages are looked at.
    void begin_round();
    void go_on();
    /// A piece of a message that is copied piece by piece is on stable storage.
    void on_piece_written(Intake& intake);
    /// A copy has ended, whatever came of it.
    void on_ended();

   private:
    Spool::Implementation& spool_;
};

}  // namespace postern::spool
