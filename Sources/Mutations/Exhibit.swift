#if MUTATIONS
  /// What is known of a bug that can be put back.
  public struct Exhibit: Hashable, Sendable {
    /// The bug.
    public let mutation: Mutation
    /// The catalogue's identifier of the historic bug, as GW-01; empty for the house's own.
    public let identifier: String
    /// The name, in kebab case: the catalogue's where it has one.
    public let name: String
    /// What goes wrong, in a sentence.
    public let sentence: String
    /// The file below `Sources` in which it stands.
    public let place: String
    /// Why the bug changes nothing that can be observed yet; `nil` when it does.
    public let equivalence: String?

    init(
      _ mutation: Mutation, _ name: String, catalogued identifier: String = "",
      _ sentence: String, in place: String, equivalent equivalence: String? = nil
    ) {
      self.mutation = mutation
      self.identifier = identifier
      self.name = name
      self.sentence = sentence
      self.place = place
      self.equivalence = equivalence
    }

    /// Every exhibit, in the order of the mutations.
    public static var all: [Exhibit] {
      guestWalk + host + memslots + tables + faults + machine + subpages + shadowWalks
        + shadowRoots + shadowPages
    }
  }

  extension Mutation {
    /// What is known of the bug.
    public var exhibit: Exhibit {
      guard let exhibit = Exhibit.all.first(where: { $0.mutation == self }) else {
        preconditionFailure("every mutation is exhibited")
      }
      return exhibit
    }
  }
#endif
