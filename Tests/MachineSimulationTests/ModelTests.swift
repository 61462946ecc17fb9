import MachineSimulation
import Testing

@Suite("Scenarios as values")
struct ModelTests {
  @Test("every feature has one name, and the standard ones are all but sub-page protection")
  func featureNames() {
    var all = ScenarioFeatures()
    for (_, feature) in ScenarioFeatures.names {
      #expect(all.isDisjoint(with: feature))
      all.formUnion(feature)
    }
    #expect(all == ScenarioFeatures.standard.union(.subpages))
    #expect(!ScenarioFeatures.standard.contains(.subpages))
    #expect(Set(ScenarioFeatures.names.map(\.name)).count == ScenarioFeatures.names.count)
  }

  @Test("words are written lowest byte first", arguments: [0x0102_0304_0506_0708, UInt64.max, 0])
  func words(_ word: UInt64) {
    let bytes = GuestBytes(words: [word])
    #expect(bytes.bytes.count == bytes.shape.byteCount)
    #expect(bytes.bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } == word)
  }
}
