import Glibc
import Synchronization

/// Tells the seed of the run under way when one of our own traps ends the program.
enum TrapNotice {
  /// The seed of the run under way.
  static let seed = Atomic<UInt64>(0)
  /// The step under way, from 0.
  static let step = Atomic<Int>(0)

  // SAFETY: written once, before the handlers that read it are installed.
  nonisolated(unsafe) private static var earlier = InlineArray<32, sigaction>(
    repeating: sigaction())

  /// Has the seed told on a trap; then the signal does what it did before.
  static func install() {
    // Made before a handler could be the first to ask for them.
    seed.store(0, ordering: .relaxed)
    step.store(0, ordering: .relaxed)
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT] {
      var action = sigaction()
      unsafe action.__sigaction_handler.sa_handler = { number in
        TrapNotice.tell()
        // Behind the handler the instruction traps again, and meets what was there before.
        // SAFETY: both structures live as long as the program.
        unsafe _ = sigaction(number, &TrapNotice.earlier[Int(number)], nil)
      }
      // SAFETY: the structures are ours; the handler only writes to standard error.
      unsafe _ = sigaction(number, &action, &earlier[Int(number)])
    }
  }

  /// Writes the notice with nothing but a buffer on the stack, as a signal handler must.
  private static func tell() {
    put("penumbra: the program trapped; again by --runs 1 --seed ")
    put(seed.load(ordering: .relaxed))
    put(", at step ")
    put(UInt64(step.load(ordering: .relaxed)) + 1)
    put("; --write-run FILE writes its scenario\n")
  }

  private static func put(_ text: StaticString) {
    // SAFETY: the text is in the program's own read-only memory.
    unsafe _ = write(2, text.utf8Start, text.utf8CodeUnitCount)
  }

  private static func put(_ number: UInt64) {
    var digits = InlineArray<20, UInt8>(repeating: 0)
    var (left, place) = (number, 20)
    repeat {
      place -= 1
      digits[place] = 48 + UInt8(left % 10)
      left /= 10
    } while left > 0
    let bytes = digits.span.extracting(place..<20)
    // SAFETY: the bytes are used inside the call only.
    unsafe bytes.withUnsafeBufferPointer { bytes in
      // SAFETY: the bytes live as long as the call.
      unsafe _ = write(2, bytes.baseAddress, bytes.count)
    }
  }
}
