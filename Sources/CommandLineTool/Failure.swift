import Glibc

/// Why a command ends early: a sentence for standard error, and the exit status.
struct Failure: Error {
  /// The exit statuses of the contract.
  enum Status: Int32 {
    /// Nobody reads the output any more; nothing is wrong.
    case readerLeft = 0
    /// The thing checked does not hold.
    case doesNotHold = 1
    /// Bad usage, or unreadable input.
    case unusable = 2
    /// A limit was reached.
    case limit = 3
  }

  let message: String
  let status: Status

  init(_ message: String, _ status: Status = .unusable) {
    self.message = message
    self.status = status
  }

  /// Writes the sentence to standard error, as one line, and returns the exit status.
  func report() -> Int32 {
    if status != .readerLeft { Self.note(message) }
    return status.rawValue
  }

  /// Writes a line to standard error.
  static func note(_ message: String) {
    let words = message.split(whereSeparator: \.isNewline).map { line in
      line.drop { $0 == " " }
    }
    var line = "penumbra: " + words.joined(separator: "; ") + "\n"
    line.withUTF8 { bytes in
      // SAFETY: the bytes live as long as the call; standard error is not checked for errors.
      unsafe _ = write(2, bytes.baseAddress, bytes.count)
    }
  }

  /// The system's words for the last error.
  static var systemError: String {
    // SAFETY: the text is copied before another call could change it; one thread runs.
    unsafe String(cString: strerror(errno))
  }
}
