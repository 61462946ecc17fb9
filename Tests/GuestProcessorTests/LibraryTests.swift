import GuestProcessor
import Testing

@Suite("Finding Unicorn") struct LibraryTests {
  @Test("a path with nothing there is refused in one line that says what to do")
  func absent() {
    #expect {
      try UnicornLibrary(path: "/nonexistent/libunicorn.so.2")
    } throws: { error in
      let text = "\(error)"
      return text.contains("/nonexistent/libunicorn.so.2") && text.contains("Scripts/bootstrap")
        && !text.contains("\n")
    }
  }

  @Test("a library that is not Unicorn is refused by what it lacks")
  func other() {
    #expect {
      try UnicornLibrary(path: "libc.so.6")
    } throws: { "\($0)".contains("uc_version") }
  }

  @Test("every error is one line")
  func words() {
    let errors: [UnicornError] = [
      .missing(tried: ["a"]), .tooOld(version: "2.0.1"), .unusable(path: "p", reason: "r"),
      .refused(step: "s", reason: "r"), .calibration(of: "w", places: 2),
    ]
    for error in errors {
      #expect(!error.description.contains("\n") && !error.description.isEmpty)
    }
  }

  @Test("the library found is 2.1 or later")
  func found() throws {
    let version = try UnicornLibrary().version
    #expect(version.hasPrefix("2.") && version != "2.0.1")
  }
}
