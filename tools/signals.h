// How the program ends when it is told to: SIGINT (Ctrl-C), SIGTERM, SIGHUP.
#pragma once

namespace smelt::tools {

/// From now on the first of these signals asks the running job to stop (Interrupted()), a second
/// one ends the program at once. What was ignored when the program started stays ignored. Whatever
/// has not stopped within a second is ended here: the sentence `smelt: interrupted`, with `json`
/// the failure as an object on standard output, and the signal again. What is being written then
/// stays what a killed run leaves: a part that the next run resumes.
void CatchSignals(bool json);

/// The signal that has come, or 0.
int Interrupted();

/// Ends the program by the signal that has come, as if nobody had caught it: a shell stops its loop
/// and sees 128 + the signal's number. Does nothing when none has.
void EndAsSignalled();

/// Standard output has begun to say something: a failure's object would only spoil it.
void OutputHasBegun();

/// What a last word needs in front of it: the sequence that clears a progress line, or an empty
/// text. `text` lives forever.
void SetLastWordPrefix(const char* text);

}  // namespace smelt::tools
